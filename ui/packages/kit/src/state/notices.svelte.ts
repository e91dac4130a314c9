/** Messages that come and go: toasts to see, announcements to hear. */
export interface Toast {
  readonly id: number
  readonly kind: 'info' | 'fault'
  readonly text: string
}

const TOASTS_MAX = 3
const INFO_MS = 8000

class Notices {
  toasts = $state.raw<readonly Toast[]>([])
  announcement = $state('')
  #last_id = 0

  /** Show a message; information leaves by itself, a fault stays until closed. */
  show(text: string, kind: Toast['kind'] = 'info'): void {
    const id = (this.#last_id += 1)
    this.toasts = [...this.toasts.slice(1 - TOASTS_MAX), { id, kind, text }]
    if (kind === 'info') setTimeout(() => this.close(id), INFO_MS)
  }

  close(id: number): void {
    this.toasts = this.toasts.filter((toast) => toast.id !== id)
  }

  /** Say a change of state once to who listens; figures are not said. */
  announce(text: string): void {
    this.announcement = text
  }
}

export const notices = new Notices()
