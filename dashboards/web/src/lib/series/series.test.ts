import { expect, test } from 'vitest'
import type { ClassStatus, Event, Point } from '../api/types'
import { merge } from './events'
import { series } from './points'
import { spanOf } from './range'

const T0 = Date.UTC(2026, 10, 22, 12) / 1000
const point = (at: number, more: Partial<Point> = {}): Point => ({
  at: new Date((T0 + at) * 1000).toISOString(),
  length_s: 10,
  route: ['fra'],
  rtt_ms: { p50: 40, p95: 60 },
  loss_up: 0,
  loss_down: 0,
  quality: 'good',
  ...more,
})

test('windows that follow each other are joined', () => {
  const out = series([point(10), point(20), point(30)])
  expect(out.at).toEqual([T0 + 10, T0 + 20, T0 + 30])
  expect(out.p50).toEqual([40, 40, 40])
})

test('a gap stays a gap', () => {
  const out = series([point(10), point(40)])
  expect(out.at).toEqual([T0 + 10, T0 + 20, T0 + 40])
  expect(out.p50).toEqual([40, null, 40])
  expect(out.p95).toEqual([60, null, 60])
  expect(out.loss).toEqual([0, null, 0])
})

test.each([
  // The next window begins this long after the last one ended: 6 s is half its length and a second.
  [6, 2],
  [6.1, 3],
])('%s s between windows of 10 s: %s rows', (apart, rows) => expect(series([point(10), point(20 + apart)]).at).toHaveLength(rows))

test('windows of other lengths follow on', () => expect(series([point(10), point(15, { length_s: 5 }), point(75, { length_s: 60 })]).at).toHaveLength(3))

test('what was not measured is null, not 0', () => {
  const out = series([point(10, { rtt_ms: undefined, loss_up: undefined, loss_down: undefined })])
  expect([out.p50, out.p95, out.loss]).toEqual([[null], [null], [null]])
})

test('the worse direction counts', () => {
  expect(series([point(10, { loss_up: 0.02, loss_down: 0.5 })]).loss).toEqual([50])
  expect(series([point(10, { loss_up: undefined, loss_down: 0.5 })]).loss).toEqual([50])
})

test('rows out of order or without a time are left out, since a chart needs ascending times', () => {
  expect(series([point(20), point(10), point(20), point(30, { at: 'never' })]).at).toEqual([T0 + 20])
})

const event = (at: number, text: string): Event => ({ at: new Date(at * 1000).toISOString(), kind: 'switch', text, detail: {} })

test('events from the history and the feed are one list, each once', () => {
  expect(merge([event(2, 'b'), event(1, 'a')], [event(2, 'b'), event(3, 'c')]).map(({ text }) => text)).toEqual(['a', 'b', 'c'])
})

const row = (more: Partial<ClassStatus>): ClassStatus => ({
  id: 'x',
  state: 'live',
  quality: 'good',
  budget_ms: 200,
  budget_on: 'round_trip',
  protect: 'off',
  participants: [],
  ...more,
})

test('spans end now, or with the class', () => {
  expect(spanOf(null, '15m', 1e9)).toEqual({ from: 1e9 - 900_000, to: 1e9 })
  expect(spanOf(row({ began: new Date(5e8).toISOString() }), 'all', 1e9)).toEqual({ from: 5e8, to: 1e9 })
  expect(spanOf(row({ state: 'ended', ended: new Date(9e8).toISOString() }), '15m', 1e9)).toEqual({ from: 9e8 - 900_000, to: 9e8 })
  expect(spanOf(row({ began: new Date(1e9 - 120_000).toISOString() }), '15m', 1e9)).toEqual({ from: 1e9 - 120_000, to: 1e9 })
  expect(spanOf(row({ began: new Date(1e9 + 5).toISOString() }), 'all', 1e9)).toEqual({ from: 1e9 - 60_000, to: 1e9 })
})
