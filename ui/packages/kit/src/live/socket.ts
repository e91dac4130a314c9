/** The live WebSocket: says which tags are shown, gets their values, and reconnects for ever. */
import { sessionOver } from '../api/request'

const SESSION_OVER = 4401

export interface LiveMessage<V> {
  readonly time_us: number
  readonly values: readonly V[]
}

const RETRY_DELAYS_MS = [500, 1000, 2000, 5000]
const SUBSCRIBE_DELAY_MS = 120

export class LiveSocket<V> {
  readonly #path: string
  readonly #receive: (message: LiveMessage<V>) => void
  #socket: WebSocket | undefined
  #wanted: readonly number[] = []
  #sent = ''
  #failures = 0
  #stopped = true
  #retry: ReturnType<typeof setTimeout> | undefined
  #subscribe: ReturnType<typeof setTimeout> | undefined

  readonly #opened: () => void

  /** `opened` is called at each connection: what came before it was missed. */
  constructor(path: string, receive: (message: LiveMessage<V>) => void, opened: () => void) {
    this.#path = path
    this.#receive = receive
    this.#opened = opened
  }

  /** Connect while the page is visible; returns what stops it. */
  start(): () => void {
    const watch = () => {
      this.#close()
      this.#stopped = document.visibilityState !== 'visible'
      if (!this.#stopped) this.#open()
    }
    document.addEventListener('visibilitychange', watch)
    watch()
    return () => {
      document.removeEventListener('visibilitychange', watch)
      this.#stopped = true
      this.#close()
    }
  }

  /** Ask for exactly these tags from now on; quick changes (scrolling) become one message. */
  want(indexes: readonly number[]): void {
    this.#wanted = indexes
    if (this.#subscribe !== undefined) return
    this.#subscribe = setTimeout(() => {
      this.#subscribe = undefined
      this.#send()
    }, SUBSCRIBE_DELAY_MS)
  }

  #open(): void {
    const url = new URL(this.#path, location.href)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url)
    this.#socket = socket
    socket.onopen = () => {
      this.#sent = ''
      this.#send()
      this.#opened()
    }
    socket.onmessage = (event: MessageEvent<string>) => {
      this.#failures = 0
      this.#receive(JSON.parse(event.data) as LiveMessage<V>)
    }
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket || this.#stopped) return
      if (code === SESSION_OVER) return sessionOver()
      const delay_ms = RETRY_DELAYS_MS[Math.min(this.#failures, RETRY_DELAYS_MS.length - 1)]
      this.#failures += 1
      this.#retry = setTimeout(() => this.#open(), delay_ms)
    }
  }

  #send(): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return
    const text = JSON.stringify({ tags: this.#wanted })
    if (text === this.#sent) return
    this.#sent = text
    this.#socket.send(text)
  }

  #close(): void {
    clearTimeout(this.#retry)
    const socket = this.#socket
    this.#socket = undefined
    if (socket === undefined) return
    socket.onmessage = socket.onclose = null
    // closing one that is not open yet makes the browser complain
    socket.onopen = () => socket.close()
    if (socket.readyState === WebSocket.OPEN) socket.close()
  }
}
