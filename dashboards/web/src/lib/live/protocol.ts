import type { AgentStatus, ClassState, ClassStatus, ControllerStatus, EdgeStatus, Event, LinkStatus, OneWay, Outcome, Quality, Rtt } from '../api/types'
import type { Loss } from '../mesh/minute-loss'
import type { RowWindow } from '../table/window'
import type { PastState } from './past'
import type { ListQuery } from '../table/query'

/**
 * What the page and its worker say to each other. The worker holds the whole status, which may be
 * megabytes a second; the page gets only what it shows.
 */

export type View =
  | { kind: 'summary' }
  | { kind: 'classes'; query: ListQuery; window: RowWindow }
  | { kind: 'class'; id: string }
  | { kind: 'edges' }
  | { kind: 'agents'; query: ListQuery; window: RowWindow }
  | { kind: 'subjects' }

/** A class as a list shows it. */
export interface ClassRow {
  id: string
  state: ClassState
  outcome?: Outcome
  quality: Quality
  hub?: string
  target?: string
  budget_ms: number
  rtt_ms?: Rtt
  one_way_ms?: OneWay
  participants: number
  began?: string
  start?: string
  end?: string
  ended?: string
}

/** An agent with the link to the edge that carries its reports, as far as it is measured. */
export interface AgentRow extends AgentStatus {
  link?: LinkStatus
}

export interface Rows<T> {
  rows: T[]
  /** Index of the first of `rows` among those that match. */
  first: number
  matching: number
  all: number
}

/** An edge–edge link with its loss over the last minute. */
export interface MeshLink {
  link: LinkStatus
  minute?: Loss
}

export type ViewData =
  | { kind: 'summary' }
  | ({ kind: 'classes'; past?: PastState } & Rows<ClassRow>)
  | { kind: 'class'; id: string; class: ClassStatus | null }
  | { kind: 'edges'; edges: EdgeStatus[]; mesh: MeshLink[] }
  | ({ kind: 'agents' } & Rows<AgentRow>)
  | { kind: 'subjects'; subjects: string[] }

/** What every page shows, whatever its view. */
export interface Summary {
  controller: ControllerStatus
  /** Live classes by quality, and the classes that are not live. */
  live: number
  good: number
  at_risk: number
  outage: number
  unknown: number
  scheduled: number
  ended: number
  /** Classes that ended as dropped within the last hour. */
  dropped: number
  edges: number
  agents: number
}

/** How the feed reaches us. */
export type Connection = 'connecting' | 'streaming' | 'polling' | 'lost'

export type Exported = { kind: 'classes'; rows: ClassStatus[] } | { kind: 'agents'; rows: AgentRow[] } | { kind: 'edges'; links: LinkStatus[] } | null

export type ToWorker =
  | { type: 'start' }
  | { type: 'stop' }
  | { type: 'view'; view: View }
  | { type: 'export'; view: View; ticket: number }

export type FromWorker =
  | {
      type: 'update'
      view: View
      data: ViewData
      summary: Summary
      /** When the status came: monotonic and wall milliseconds, both comparable across threads. */
      received: Moment
    }
  | { type: 'event'; event: Event }
  | { type: 'connection'; connection: Connection }
  | { type: 'unauthorised' }
  | { type: 'exported'; ticket: number; exported: Exported }

/** A point in time on both clocks: the monotonic one may stand still while the machine sleeps. */
export interface Moment {
  monotonic: number
  wall: number
}

export function moment(): Moment {
  return { monotonic: performance.timeOrigin + performance.now(), wall: Date.now() }
}

/** Milliseconds between, by whichever clock says more: doubt makes data older, never younger. */
export function since(then: Moment, now: Moment): number {
  return Math.max(now.monotonic - then.monotonic, now.wall - then.wall, 0)
}

/** The controller's time now: what it said it was when it was last heard, so many seconds ago; without it `own`. */
export function timeOf(said: number | undefined, age: number | null, own: number): number {
  return said === undefined || age === null ? own : said + age * 1000
}
