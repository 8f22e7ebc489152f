import type { ClassStatus, Status } from '../api/types'
import { over, push, type Counters } from '../mesh/minute-loss'
import { selectAgents, selectClasses, type ListQuery } from '../table/query'
import type { RowWindow } from '../table/window'
import { withPast, type Past } from './past'
import type { AgentRow, ClassRow, Exported, Rows, Summary, View, ViewData } from './protocol'

/** Histories of the mesh's counters, by `from` and `to`. */
export type Histories = ReadonlyMap<string, readonly Counters[]>

const linkKey = (from: string, to: string) => `${from}\n${to}`

/** Dropped classes are counted for so long. */
const DROPPED_MS = 3_600_000

const AGENT_PREFIX = 'agent:'

export function meshLinks(status: Status) {
  return status.links.filter((link) => !link.from.startsWith(AGENT_PREFIX) && !link.to.startsWith(AGENT_PREFIX))
}

/** The histories with this status's counters added; links that are gone are forgotten. */
export function withStatus(histories: Histories, status: Status, at: number): Histories {
  return new Map(
    meshLinks(status).map((link) => {
      const key = linkKey(link.from, link.to)
      return [key, push(histories.get(key) ?? [], { at, sent: link.sent, lost: link.lost })]
    }),
  )
}

export function summary(status: Status): Summary {
  const out: Summary = {
    controller: status.controller,
    live: 0,
    good: 0,
    at_risk: 0,
    outage: 0,
    unknown: 0,
    scheduled: 0,
    ended: 0,
    dropped: 0,
    edges: status.edges.length,
    agents: status.agents.length,
  }
  const now = Date.parse(status.controller.now)
  for (const row of status.classes) {
    out[row.state] += 1
    if (row.state === 'live') out[row.quality] += 1
    if (row.outcome === 'dropped' && now - Date.parse(row.ended ?? '') <= DROPPED_MS) out.dropped += 1
  }
  return out
}

export function viewData(status: Status, histories: Histories, past: Past, view: View): ViewData {
  switch (view.kind) {
    case 'summary':
      return { kind: 'summary' }
    case 'classes': {
      const classes = classesOf(status, past, view.query)
      const rows = slice(selectClasses(classes, view.query), view.window, classes.length, classRow)
      return { kind: 'classes', ...rows, ...(wantsPast(view) ? { past: past.state } : {}) }
    }
    case 'class':
      return { kind: 'class', id: view.id, class: status.classes.find((row) => row.id === view.id) ?? null }
    case 'edges':
      return {
        kind: 'edges',
        edges: status.edges.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
        mesh: meshLinks(status).map((link) => {
          const minute = over(histories.get(linkKey(link.from, link.to)) ?? [])
          return minute === undefined ? { link } : { link, minute }
        }),
      }
    case 'agents':
      return { kind: 'agents', ...slice(selectAgents(agentRows(status), view.query), view.window, status.agents.length, (row) => row) }
    case 'subjects':
      return {
        kind: 'subjects',
        subjects: status.agents.filter((agent) => agent.state === 'up').map((agent) => agent.subject).sort(),
      }
  }
}

/** Everything that a view's filter lets through, for export. */
export function exported(status: Status, past: Past, view: View): Exported {
  switch (view.kind) {
    case 'classes':
      return { kind: 'classes', rows: selectClasses(classesOf(status, past, view.query), view.query) }
    case 'agents':
      return { kind: 'agents', rows: selectAgents(agentRows(status), view.query) }
    case 'edges':
      return { kind: 'edges', links: meshLinks(status) }
    default:
      return null
  }
}

/** Whether a view shows classes that only the store has. */
export function wantsPast(view: View): boolean {
  return view.kind === 'classes' && view.query.state === 'ended'
}

function classesOf(status: Status, past: Past, query: ListQuery): readonly ClassStatus[] {
  return query.state === 'ended' ? withPast(status.classes, past) : status.classes
}

function slice<T, R>(matching: readonly T[], window: RowWindow, all: number, row: (item: T) => R): Rows<R> {
  const first = Math.max(0, Math.min(window.first, matching.length - window.count))
  return { rows: matching.slice(first, first + window.count).map(row), first, matching: matching.length, all }
}

function agentRows(status: Status): AgentRow[] {
  const links = new Map(
    status.links.filter((link) => link.from.startsWith(AGENT_PREFIX)).map((link) => [linkKey(link.from, link.to), link]),
  )
  return status.agents.map((agent) => {
    const link = agent.uplink === undefined ? undefined : links.get(linkKey(AGENT_PREFIX + agent.subject, agent.uplink))
    return link === undefined ? agent : { ...agent, link }
  })
}

function classRow({ participants, budget_on: _, protect: __, ...row }: ClassStatus): ClassRow {
  return { ...row, participants: participants.length }
}
