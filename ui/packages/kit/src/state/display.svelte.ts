/** How this device shows the page; the only thing kept in browser storage. */
export type Theme = 'system' | 'light' | 'dark'
export type Contrast = 'normal' | 'more'
export type Density = 'desktop' | 'touch'

const KEY = 'factoryplus.display'
const dark = matchMedia('(prefers-color-scheme: dark)')

function stored(): { theme?: Theme; contrast?: Contrast; density?: Density } {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}') as ReturnType<typeof stored>
  } catch {
    return {} // storage is off or damaged: the defaults are good
  }
}

class Display {
  theme = $state<Theme>('system')
  contrast = $state<Contrast>('normal')
  density = $state<Density>('desktop')
  /** Counts changes of colour; charts that paint their own colours depend on it. */
  painted = $state(0)

  constructor() {
    const kept = stored()
    this.theme = kept.theme ?? 'system'
    this.contrast = kept.contrast ?? (matchMedia('(prefers-contrast: more)').matches ? 'more' : 'normal')
    this.density = kept.density ?? (matchMedia('(pointer: coarse)').matches ? 'touch' : 'desktop')
    this.#apply()
    dark.addEventListener('change', () => (this.painted += 1))
  }

  set(choice: { theme?: Theme; contrast?: Contrast; density?: Density }): void {
    Object.assign(this, choice)
    this.#apply()
    const { theme, contrast, density } = this
    try {
      localStorage.setItem(KEY, JSON.stringify({ theme, contrast, density }))
    } catch {
      // not remembered, still applied
    }
  }

  #apply(): void {
    const data = document.documentElement.dataset
    if (this.theme === 'system') delete data['theme']
    else data['theme'] = this.theme
    data['contrast'] = this.contrast
    data['density'] = this.density
    this.painted += 1
  }
}

export const display = new Display()
