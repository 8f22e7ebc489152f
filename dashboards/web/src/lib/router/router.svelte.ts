import { pageOf, withParams } from './url'

/** Where the browser is; assigning to history is the only way to move. */
class Router {
  path = $state(location.pathname)
  search = $state(location.search)
  readonly page = $derived(pageOf(this.path))
  readonly params = $derived(new URLSearchParams(this.search))
  readonly here = $derived(this.path + this.search)

  constructor() {
    addEventListener('popstate', () => this.read())
    document.addEventListener('click', (event) => this.follow(event))
  }

  go(to: string): void {
    history.pushState(null, '', to)
    this.read()
    scrollTo(0, 0)
  }

  replace(to: string): void {
    history.replaceState(null, '', to)
    this.read()
  }

  /** Changes parameters of this page. Typing replaces the entry, choosing makes one to go back to. */
  set(changes: Record<string, string | null>, how: 'push' | 'replace' = 'push'): void {
    const to = withParams(this.path, this.search, changes)
    if (to === this.here) return
    if (how === 'push') history.pushState(null, '', to)
    else history.replaceState(null, '', to)
    this.read()
  }

  private read(): void {
    this.path = location.pathname
    this.search = location.search
  }

  /** Links within the pages do not load anew; modified clicks stay the browser's. */
  private follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = event.target instanceof Element ? event.target.closest('a') : null
    if (link === null || link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin) return
    if (link.pathname === location.pathname && link.hash !== '') return
    event.preventDefault()
    const to = link.pathname + link.search
    if (to !== this.here) this.go(to)
  }
}

export const router = new Router()
