import { api, ApiError, sentence, setCsrf, setUnauthorised } from './api/client'
import type { Level, Session } from './api/types'
import { live } from './live/live.svelte'
import { router } from './router/router.svelte'
import { safeNext } from './router/url'

const RANK: Record<Level, number> = { viewer: 0, support: 1, operator: 2, admin: 3 }

type Phase = 'checking' | 'in' | 'out' | 'unreachable'

/** Who is logged in, and the way in and out. */
class Login {
  phase = $state<Phase>('checking')
  session = $state.raw<Session | null>(null)
  /** Why the session could not be asked for. */
  problem = $state('')
  /** A session was open and is over. */
  expired = $state(false)

  /** May do what that level may. */
  can(level: Level): boolean {
    return this.session !== null && RANK[this.session.level] >= RANK[level]
  }

  async check(): Promise<void> {
    setUnauthorised(() => this.over())
    try {
      this.enter(await api.session())
      if (router.page.name === 'login') router.replace(safeNext(router.params.get('next')))
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        this.leave()
      } else {
        this.problem = sentence(error)
        this.phase = 'unreachable'
      }
    }
  }

  async login(name: string, password: string): Promise<void> {
    this.enter(await api.login({ name, password }))
    router.replace(safeNext(router.params.get('next')))
  }

  async logout(): Promise<void> {
    await api.logout()
    this.expired = false
    this.leave('/')
  }

  /** The server says that the session is over: log in again, and come back here. */
  private over(): void {
    if (this.phase === 'out') return
    this.expired = this.session !== null
    this.leave()
  }

  private enter(session: Session): void {
    this.session = session
    setCsrf(session.csrf)
    this.phase = 'in'
    this.expired = false
    live.start(() => this.over())
  }

  private leave(next: string = router.here): void {
    live.stop()
    setCsrf(null)
    this.session = null
    this.phase = 'out'
    if (router.page.name !== 'login') router.replace(next === '/' ? '/login' : `/login?next=${encodeURIComponent(next)}`)
  }
}

export const login = new Login()
