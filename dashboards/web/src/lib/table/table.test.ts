import { expect, test } from 'vitest'
import type { AgentStatus, ClassStatus } from '../api/types'
import { select, selectAgents, selectClasses, type ListQuery } from './query'
import { rowWindow } from './window'

const ANY: ListQuery = { q: '', state: '', quality: '', outcome: '', sort: 'health', dir: 'asc' }
const row = (id: string, more: Partial<ClassStatus> = {}): ClassStatus => ({
  id,
  state: 'live',
  quality: 'good',
  budget_ms: 200,
  budget_on: 'round_trip',
  protect: 'off',
  participants: [{ subject: `s-${id}`, role: 'student', quality: 'good', legs: [] }],
  ...more,
})
const ids = (rows: readonly { id: string }[]) => rows.map(({ id }) => id).join(' ')

const CLASSES = [
  row('d', { rtt_ms: { p50: 1, p95: 90 } }),
  row('a', { state: 'ended', quality: 'outage' }),
  row('c', { quality: 'outage', hub: 'fra' }),
  row('b', { quality: 'at_risk', rtt_ms: { p50: 1, p95: 290 } }),
  row('e', { state: 'scheduled', quality: 'unknown' }),
  row('f', { quality: 'unknown' }),
  row('g', { state: 'ended', quality: 'unknown', outcome: 'dropped' }),
]

test.each([
  [{}, 'c b f d e g a'],
  [{ dir: 'desc' }, 'a g e d f b c'],
  [{ sort: 'id' }, 'a b c d e f g'],
  // What is unknown is last, whichever way.
  [{ sort: 'rtt' }, 'd b a c e f g'],
  [{ sort: 'rtt', dir: 'desc' }, 'b d a c e f g'],
  [{ state: 'live' }, 'c b f d'],
  // A class that is over is in no health.
  [{ quality: 'outage' }, 'c'],
  [{ outcome: 'dropped' }, 'g'],
  [{ q: ' FRA ' }, 'c'],
  [{ q: 's-b' }, 'b'],
  [{ q: 'zzz' }, ''],
] as const)('classes by %j: %s', (query, found) => expect(ids(selectClasses(CLASSES, { ...ANY, ...query }))).toBe(found))

const agent = (subject: string, more: Partial<AgentStatus> = {}): AgentStatus => ({
  subject,
  id: subject,
  state: 'up',
  tags: {},
  classes: [],
  spool_rows: 0,
  spool_dropped: 0,
  ...more,
})

test.each([
  [{ q: 'school=north' }, 'x'],
  [{ sort: 'clock', dir: 'desc' }, 'y x z'],
  [{ sort: 'state' }, 'y x z'],
  [{ state: 'silent' }, 'y'],
] as const)('agents by %j: %s', (query, found) => {
  const agents = [agent('z'), agent('x', { tags: { school: 'north' }, clock_off_s: 3 }), agent('y', { state: 'silent', clock_off_s: -400 })]
  expect(ids(selectAgents(agents, { ...ANY, ...query }))).toBe(found)
})

test('ties are broken by name in both directions, so that rows do not jump', () => {
  const rows = ['b', 'a', 'c'].map((id) => ({ id }))
  for (const dir of ['asc', 'desc'] as const) expect(ids(select(rows, () => true, () => 1, ({ id }) => id, dir))).toBe('a b c')
})

test.each([
  // scroll, viewport, total → first, count
  [0, 360, 5000, 0, 31],
  [36_000, 360, 5000, 990, 31],
  [179_640, 360, 5000, 4979, 21],
  [0, 360, 3, 0, 3],
  [0, 360, 0, 0, 0],
])('scrolled %s of %s high with %s rows: %s + %s', (scroll, viewport, total, first, count) => {
  const window = rowWindow(scroll, viewport, 36, total, 10)
  expect(window).toEqual({ first, count })
})

test('every row in view is in the window', () => {
  for (let scroll = 0; scroll <= 5000 * 36 - 500; scroll += 777) {
    const { first, count } = rowWindow(scroll, 500, 36, 5000, 10)
    expect(first).toBeLessThanOrEqual(Math.floor(scroll / 36))
    expect(first + count).toBeGreaterThanOrEqual(Math.min(5000, Math.ceil((scroll + 500) / 36)))
  }
})
