import { expect, test } from 'vitest'
import type { ClassStatus, Status } from '../api/types'
import { MOST_PAST, NO_PAST, pastOf, withPast } from './past'
import { summary, viewData } from './views'

const NOW = Date.UTC(2026, 10, 22, 12)
const ago = (minutes: number) => new Date(NOW - minutes * 60_000).toISOString()
const row = (id: string, more: Partial<ClassStatus> = {}): ClassStatus => ({
  id,
  state: 'live',
  quality: 'good',
  budget_ms: 200,
  budget_on: 'round_trip',
  protect: 'off',
  participants: [],
  ...more,
})
const ended = (id: string, minutes: number, more: Partial<ClassStatus> = {}) => row(id, { state: 'ended', ended: ago(minutes), outcome: 'completed', ...more })
const status = (...classes: ClassStatus[]): Status => ({
  controller: { version: '1', now: ago(0), uptime_s: 1, reports: 0, repeats: 0, store_bytes: 0 },
  edges: [],
  agents: [],
  links: [],
  classes,
})

test('classes dropped within the hour are counted', () => {
  const found = summary(
    status(
      row('live'),
      ended('fine', 1),
      ended('now', 1, { outcome: 'dropped' }),
      ended('just', 60, { outcome: 'dropped' }),
      ended('before', 61, { outcome: 'dropped' }),
    ),
  )
  expect([found.live, found.ended, found.dropped]).toEqual([1, 4, 2])
})

const view = (state: string) =>
  ({ kind: 'classes', query: { q: '', state, quality: '', outcome: '', sort: 'id', dir: 'asc' }, window: { first: 0, count: 9 } }) as const
const listed = (state: string, past = pastOf([ended('old', 9_000)])) => {
  const data = viewData(status(row('a'), ended('b', 5)), new Map(), past, view(state))
  return data.kind === 'classes' ? [data.rows.map(({ id }) => id).join(' '), data.matching, data.all, data.past] : []
}

test('what the store has is listed with the ended classes, and only there', () => {
  expect(listed('ended')).toEqual(['b old', 2, 3, 'all'])
  expect(listed('')).toEqual(['a b', 2, 2, undefined])
  expect(listed('ended', NO_PAST)).toEqual(['b', 1, 2, 'loading'])
  expect(listed('ended', { state: 'failed', classes: [] })).toEqual(['b', 1, 2, 'failed'])
})

test('what the status says of a class is newer', () => {
  expect(withPast([ended('a', 1, { outcome: 'dropped' })], pastOf([ended('a', 1), ended('b', 99)])).map(({ id, outcome }) => `${id} ${outcome}`)).toEqual([
    'a dropped',
    'b completed',
  ])
})

test('as many as can be had are not all there are', () => {
  expect(pastOf(Array.from({ length: MOST_PAST - 1 }, (_, i) => ended(`${i}`, i))).state).toBe('all')
  expect(pastOf(Array.from({ length: MOST_PAST }, (_, i) => ended(`${i}`, i))).state).toBe('newest')
})
