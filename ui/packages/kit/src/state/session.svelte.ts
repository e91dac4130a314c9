/** Who is signed in. The token is an HttpOnly cookie; the page never sees it. */
import { ApiError, onSessionOver } from '../api/request'

export interface SessionState {
  readonly claimed: boolean
  readonly signed_in: boolean
  readonly name: string | null
}

/** The four calls, the same on gateway and hub. */
export interface SessionApi {
  readonly read: () => Promise<SessionState>
  readonly signIn: (name: string, password: string) => Promise<SessionState>
  readonly claim: (code: string, name: string, password: string) => Promise<SessionState>
  readonly signOut: () => Promise<unknown>
}

const RETRY_MS = 2000

export class Session {
  /** Unknown until the machine answered. */
  state = $state.raw<SessionState>()
  unreachable = $state(false)
  readonly #api: SessionApi

  constructor(api: SessionApi) {
    this.#api = api
    onSessionOver(this.expire)
  }

  /** Ask until there is an answer; returns what stops it. */
  start(): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined
    let stopped = false
    const ask = async () => {
      try {
        const state = await this.#api.read()
        if (!stopped) this.state = state
        this.unreachable = false
      } catch {
        this.unreachable = true
        if (!stopped) timer = setTimeout(() => void ask(), RETRY_MS)
      }
    }
    void ask()
    return () => {
      stopped = true
      clearTimeout(timer)
    }
  }

  readonly signIn = async (name: string, password: string): Promise<void> => {
    this.state = await this.#api.signIn(name, password)
  }

  readonly claim = async (code: string, name: string, password: string): Promise<void> => {
    this.state = await this.#api.claim(code, name, password)
  }

  readonly signOut = async (): Promise<void> => {
    try {
      await this.#api.signOut()
    } catch (error) {
      // 401: it was over already
      if (!(error instanceof ApiError && error.status === 401)) throw error
    }
    this.expire()
  }

  /** The machine said 401: the session is over. */
  readonly expire = (): void => {
    if (this.state?.signed_in) this.state = { ...this.state, signed_in: false, name: null }
  }
}
