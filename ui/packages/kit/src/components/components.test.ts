import { cleanup, fireEvent, render, screen } from '@testing-library/svelte'
import { createRawSnippet } from 'svelte'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ApiError } from '../api/request'
import { notices } from '../state/notices.svelte'
import SessionForm from './session-form.svelte'
import StateBadge from './state-badge.svelte'
import { freshness, qualityOf, worst } from './states'
import StatusStrip, { type StripCell } from './status-strip.svelte'
import TagName from './tag-name.svelte'

afterEach(cleanup)

function form(claimed: boolean) {
  const props = {
    claimed,
    product: 'Factory+ Gateway',
    machine: 'gateway',
    onsignin: vi.fn(async () => undefined),
    onclaim: vi.fn(async () => undefined),
  }
  render(SessionForm, { props })
  return props
}

describe('the sign-in form', () => {
  it('names what is missing and asks nobody', async () => {
    const { onsignin } = form(true)
    await fireEvent.click(screen.getByRole('button', { name: 'Sign in' }))
    expect(screen.getByRole('alert').textContent).toBe('Fill in: Name, Password.')
    expect(onsignin).not.toHaveBeenCalled()
  })

  it('never says whether name or password is wrong', async () => {
    const { onsignin } = form(true)
    onsignin.mockRejectedValue(new ApiError(401, 'no such user', '', 'auth.wrong_credentials'))
    await fireEvent.input(screen.getByLabelText('Name'), { target: { value: 'anna' } })
    await fireEvent.input(screen.getByLabelText('Password'), { target: { value: 'secret' } })
    await fireEvent.click(screen.getByRole('button', { name: 'Sign in' }))
    await vi.waitFor(() => expect(screen.getByRole('alert').textContent).toBe('Name or password is wrong.'))
  })

  it('claims with code, name and a long password', async () => {
    const { onclaim } = form(false)
    await fireEvent.input(screen.getByLabelText('One-time code'), { target: { value: ' K7QM-2F9D ' } })
    await fireEvent.input(screen.getByLabelText('Name'), { target: { value: 'anna' } })
    await fireEvent.input(screen.getByLabelText('New password'), { target: { value: 'short' } })
    await fireEvent.click(screen.getByRole('button', { name: 'Claim and sign in' }))
    expect(screen.getByRole('alert').textContent).toContain('7 characters are missing')
    await fireEvent.input(screen.getByLabelText('New password'), { target: { value: 'four gates in rain' } })
    await fireEvent.click(screen.getByRole('button', { name: 'Claim and sign in' }))
    expect(onclaim).toHaveBeenCalledWith('K7QM-2F9D', 'anna', 'four gates in rain')
  })
})

describe('the status strip', () => {
  const cell = (state: StripCell['state']): StripCell => ({
    key: 'broker', label: 'Broker', state, figure: '412 values/s', note: 'Not authorised.',
  })
  const detail = createRawSnippet((key: () => string) => ({ render: () => `<p>why ${key()}</p>` }))

  it('announces a change of state once, and no figures', async () => {
    notices.announce('')
    const { rerender } = render(StatusStrip, { props: { label: 'Way', cells: [cell('OK')], detail } })
    expect(notices.announcement).toBe('')
    await rerender({ cells: [{ ...cell('OK'), figure: '413 values/s' }] })
    expect(notices.announcement).toBe('')
    await rerender({ cells: [cell('Fault')] })
    expect(notices.announcement).toBe('Broker: Fault. Not authorised.')
  })

  it('opens the reason of a cell', async () => {
    render(StatusStrip, { props: { label: 'Way', cells: [cell('Fault')], detail } })
    const button = screen.getByRole('button')
    expect(button.getAttribute('aria-expanded')).toBe('false')
    await fireEvent.click(button)
    expect(screen.getByText('why broker')).toBeTruthy()
  })
})

describe('states', () => {
  it('are not claimed of a machine that is lost', () => {
    const { container } = render(StateBadge, { props: { state: 'OK', old: true } })
    expect(container.textContent?.replace(/\s+/g, ' ').trim()).toBe('Unknown (was OK)')
  })

  it('are compared by what matters most', () => {
    expect(worst(['OK', 'Attention', 'Off'])).toBe('Attention')
    expect(worst([])).toBe('OK')
  })

  it('do not call a value stale that only does not change', () => {
    expect(freshness('good', 3_600_000, true)).toBe('good')
  })

  it('call a value stale by its age and a bad one bad whatever its age', () => {
    expect(qualityOf(0x808d0000)).toBe('bad')
    expect(qualityOf(0x40900000)).toBe('uncertain')
    expect(qualityOf(0)).toBe('good')
    expect(freshness('good', 31_000, false)).toBe('stale')
    expect(freshness('good', 31_000, false, 60_000)).toBe('good')
    expect(freshness('good', 301, false, 100)).toBe('stale')
    expect(freshness('bad', 99_000, false)).toBe('bad')
  })
})

it('text from machines stays text', () => {
  const { container } = render(TagName, { props: { name: 'Line/<img src=x onerror=alert(1)>' } })
  expect(container.querySelector('img')).toBeNull()
  expect(container.textContent).toContain('<img src=x')
})
