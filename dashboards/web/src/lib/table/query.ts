import type { ClassStatus, Outcome, Quality } from '../api/types'
import { judgedP95 } from '../format/judged'
import type { AgentRow } from '../live/protocol'

export type Dir = 'asc' | 'desc'

/** What of a list is wanted, as the address says it. Empty words filter nothing. */
export interface ListQuery {
  q: string
  state: string
  quality: string
  outcome: string
  sort: string
  dir: Dir
}

/** Keys sort ascending; what has none (`undefined`) sorts last in both directions. */
export type Key = string | number | undefined

export const CLASS_SORTS = ['health', 'id', 'state', 'rtt', 'participants', 'hub', 'time'] as const
export const AGENT_SORTS = ['state', 'subject', 'uplink', 'rtt', 'version', 'platform', 'link', 'clock', 'classes', 'spool'] as const

/** Rows as wanted: filtered, sorted by key, ties by name so that rows do not jump. */
export function select<T>(
  rows: readonly T[],
  keep: (row: T) => boolean,
  key: (row: T) => Key,
  name: (row: T) => string,
  dir: Dir,
): T[] {
  const sign = dir === 'asc' ? 1 : -1
  return rows
    .filter(keep)
    .map((row) => ({ row, key: key(row), name: name(row) }))
    .sort((a, b) => {
      if (a.key === undefined || b.key === undefined) {
        if (a.key !== b.key) return a.key === undefined ? 1 : -1
      } else if (a.key < b.key) return -sign
      else if (a.key > b.key) return sign
      return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
    })
    .map(({ row }) => row)
}

const WORST_FIRST: Record<Quality, number> = { outage: 0, at_risk: 1, unknown: 2, good: 3 }

const WORST_ENDED_FIRST: Record<Outcome, number> = { dropped: 5, cut_short: 6, never_started: 7, completed: 8 }

/** Live classes by how bad they are, then the scheduled, then the ended by how badly they went. */
function health(row: ClassStatus): number {
  if (row.state === 'scheduled') return 4
  if (row.state === 'ended') return row.outcome === undefined ? 8 : WORST_ENDED_FIRST[row.outcome]
  return WORST_FIRST[row.quality]
}

function classKey(sort: string): (row: ClassStatus) => Key {
  switch (sort) {
    case 'id':
      return (row) => row.id
    case 'state':
      return (row) => ({ live: 0, scheduled: 1, ended: 2 })[row.state]
    case 'rtt':
      return (row) => judgedP95(row)
    case 'participants':
      return (row) => row.participants.length
    case 'hub':
      return (row) => row.hub ?? row.target
    case 'time':
      return (row) => row.ended ?? row.began ?? row.start
    default:
      return health
  }
}

function has(text: string | undefined, q: string): boolean {
  return text !== undefined && text.toLowerCase().includes(q)
}

export function selectClasses(rows: readonly ClassStatus[], query: ListQuery): ClassStatus[] {
  const q = query.q.trim().toLowerCase()
  const keep = (row: ClassStatus) =>
    (query.state === '' || row.state === query.state) &&
    (query.quality === '' || (row.state === 'live' && row.quality === query.quality)) &&
    (query.outcome === '' || row.outcome === query.outcome) &&
    (q === '' ||
      has(row.id, q) ||
      has(row.hub, q) ||
      has(row.target, q) ||
      row.participants.some((participant) => has(participant.subject, q)))
  return select(rows, keep, classKey(query.sort), (row) => row.id, query.dir)
}

function agentKey(sort: string): (row: AgentRow) => Key {
  switch (sort) {
    case 'subject':
      return (row) => row.subject
    case 'uplink':
      return (row) => row.uplink
    case 'rtt':
      return (row) => row.link?.rtt_ms?.p50
    case 'version':
      return (row) => row.version
    case 'platform':
      return (row) => row.platform
    case 'link':
      return (row) => row.link_type
    case 'clock':
      return (row) => (row.clock_off_s === undefined ? undefined : Math.abs(row.clock_off_s))
    case 'classes':
      return (row) => row.classes.length
    case 'spool':
      return (row) => row.spool_rows
    default:
      return (row) => ({ silent: 0, up: 1, gone: 2, revoked: 3 })[row.state]
  }
}

export function selectAgents(rows: readonly AgentRow[], query: ListQuery): AgentRow[] {
  const q = query.q.trim().toLowerCase()
  const keep = (row: AgentRow) =>
    (query.state === '' || row.state === query.state) &&
    (q === '' ||
      has(row.subject, q) ||
      has(row.uplink, q) ||
      has(row.version, q) ||
      has(row.platform, q) ||
      has(row.link_type, q) ||
      row.classes.some((id) => has(id, q)) ||
      Object.entries(row.tags).some(([key, value]) => has(`${key}=${value}`, q)))
  return select(rows, keep, agentKey(query.sort), (row) => row.subject, query.dir)
}
