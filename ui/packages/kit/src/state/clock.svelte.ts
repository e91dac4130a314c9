/** The time of the machine that the page talks to; ages are reckoned by its clock, not the browser's. */
import { createSubscriber } from 'svelte/reactivity'

const TICK_MS = 500
const JITTER_MS = 400

const tick = createSubscriber((update) => {
  const timer = setInterval(() => {
    if (document.visibilityState === 'visible') update()
  }, TICK_MS)
  return () => clearInterval(timer)
})

/** The browser's time now; whoever reads it in an effect or template is called again as it goes. */
export function browserNow_ms(): number {
  tick()
  return Date.now()
}

export class MachineClock {
  /** Machine minus browser. */
  offset_ms = $state(0)

  /** Take the time that an answer carried. The network's jitter is not a change of clock. */
  learn(time_us: number): void {
    const offset_ms = time_us / 1000 - Date.now()
    if (Math.abs(offset_ms - this.offset_ms) > JITTER_MS) this.offset_ms = offset_ms
  }

  /** The machine's time, moving. */
  now_ms(): number {
    return browserNow_ms() + this.offset_ms
  }

  /** The machine's time, once. */
  peek_ms(): number {
    return Date.now() + this.offset_ms
  }
}
