import type { Zone } from './format/time'
import { oneOf } from './router/url'

export type Theme = 'auto' | 'light' | 'dark'

const THEME = 'corridor.theme'
const ZONE = 'corridor.zone'

function stored(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
  }
}

/** What a person chose for this browser. */
class Prefs {
  theme = $state<Theme>(oneOf(stored(THEME), ['auto', 'light', 'dark'], 'auto'))
  zone = $state<Zone>(oneOf(stored(ZONE), ['local', 'utc'], 'local'))
  private systemDark = $state(false)
  readonly dark = $derived(this.theme === 'auto' ? this.systemDark : this.theme === 'dark')

  constructor() {
    const query = matchMedia('(prefers-color-scheme: dark)')
    this.systemDark = query.matches
    query.addEventListener('change', () => (this.systemDark = query.matches))
    this.apply()
  }

  setTheme(theme: Theme): void {
    this.theme = theme
    store(THEME, theme)
    this.apply()
  }

  setZone(zone: Zone): void {
    this.zone = zone
    store(ZONE, zone)
  }

  private apply(): void {
    if (this.theme === 'auto') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = this.theme
  }
}

export const prefs = new Prefs()
