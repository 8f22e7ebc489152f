import type { Event } from '../api/types'
import { parse } from '../format/time'
import { feedStale } from '../health/stale'
import { moment, since, timeOf, type Connection, type Exported, type FromWorker, type Moment, type Summary, type ToWorker, type View, type ViewData } from './protocol'

type Update = Extract<FromWorker, { type: 'update' }>

/** Events that pages may look back on. */
const EVENTS_KEPT = 200

/** The live feed as pages see it. */
class Live {
  connection = $state<Connection>('connecting')
  summary = $state.raw<Summary | null>(null)
  data = $state.raw<ViewData | null>(null)
  events = $state.raw<readonly Event[]>([])
  /** Advances once a second. */
  now = $state.raw<Moment>(moment())
  private received = $state.raw<Moment | null>(null)

  /** Seconds since the feed last brought something. */
  readonly age = $derived(this.received === null ? null : since(this.received, this.now) / 1000)
  readonly stale = $derived(feedStale(this.age))
  /**
   * The controller's time, by which everything here is filed: the clock of the machine in front of which
   * somebody sits may be wrong. That clock serves until the controller was heard.
   */
  readonly clock = $derived(timeOf(parse(this.summary?.controller.now), this.age, this.now.wall))

  private update: Update | null = null
  private worker: Worker | null = null
  private tickets = new Map<number, (exported: Exported) => void>()
  private nextTicket = 0
  private unauthorised: () => void = () => {}

  start(unauthorised: () => void): void {
    this.unauthorised = unauthorised
    if (this.worker === null) {
      this.worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'corridor-live' })
      this.worker.addEventListener('message', (message: MessageEvent<FromWorker>) => this.take(message.data))
      setInterval(() => (this.now = moment()), 1000)
    }
    this.send({ type: 'start' })
  }

  stop(): void {
    this.send({ type: 'stop' })
    this.update = null
    this.received = null
    this.summary = null
    this.data = null
    this.events = []
    this.connection = 'connecting'
  }

  /** Says what the page wants to see; `data` follows. */
  show(view: View): void {
    this.send({ type: 'view', view: $state.snapshot(view) as View })
  }

  export(view: View): Promise<Exported> {
    const ticket = this.nextTicket++
    return new Promise((resolve) => {
      this.tickets.set(ticket, resolve)
      this.send({ type: 'export', view: $state.snapshot(view) as View, ticket })
    })
  }

  /** Takes the newest update into the page, once a frame at most. */
  private draw(update: Update): void {
    const idle = this.update === null
    this.update = update
    if (!idle) return
    requestAnimationFrame(() => {
      const newest = this.update
      this.update = null
      if (newest === null) return
      this.data = newest.data
      this.summary = newest.summary
      this.received = newest.received
      this.now = moment()
    })
  }

  private send(order: ToWorker): void {
    this.worker?.postMessage(order)
  }

  private take(message: FromWorker): void {
    switch (message.type) {
      case 'update':
        this.draw(message)
        break
      case 'event':
        this.events = [...this.events.slice(1 - EVENTS_KEPT), message.event]
        break
      case 'connection':
        this.connection = message.connection
        break
      case 'unauthorised':
        this.unauthorised()
        break
      case 'exported':
        this.tickets.get(message.ticket)?.(message.exported)
        this.tickets.delete(message.ticket)
    }
  }
}

export const live = new Live()
