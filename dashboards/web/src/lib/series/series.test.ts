import { expect, test } from 'vitest'
import type { ClassStatus, Point } from '../api/types'
import { series } from './points'
import { axisEnd, spanOf } from './range'

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

const from = (out: { at: number[] }) => out.at.map((at) => at - T0)

test('windows that follow each other are joined, each level from its beginning to its end', () => {
  const out = series([point(10), point(20), point(30)])
  expect(from(out)).toEqual([0, 10, 20, 30])
  expect(out.p50).toEqual([40, 40, 40, 40])
})

test('a gap stays a gap, and the window after it begins where it began', () => {
  const out = series([point(10), point(40)])
  expect(from(out)).toEqual([0, 10, 20, 30, 40])
  expect(out.p50).toEqual([40, 40, null, 40, 40])
  expect(out.p95).toEqual([60, 60, null, 60, 60])
  expect(out.loss).toEqual([0, 0, null, 0, 0])
})

test.each([
  // The next window begins this long after the last one ended: 6 s is half its length and a second.
  [6, 3],
  [6.1, 5],
])('%s s between windows of 10 s: %s rows', (apart, rows) => expect(series([point(10), point(20 + apart)]).at).toHaveLength(rows))

test('windows of other lengths follow on', () => expect(series([point(10), point(15, { length_s: 5 }), point(75, { length_s: 60 })]).at).toHaveLength(4))

test('what was not measured is null, not 0', () => {
  const out = series([point(10, { rtt_ms: undefined, loss_up: undefined, loss_down: undefined })])
  expect([out.p50, out.p95, out.loss]).toEqual([[null, null], [null, null], [null, null]])
})

test('the window after one that was out is drawn whole', () => {
  const out = series([point(10, { rtt_ms: undefined, loss_up: 1 }), point(20)])
  expect(from(out).map((at) => Number(at.toFixed(3)))).toEqual([0, 10, 10.001, 20])
  expect(out.p50).toEqual([null, null, 40, 40])
  expect(out.loss).toEqual([100, 100, 0, 0])
})

test('the worse direction counts', () => {
  expect(series([point(10, { loss_up: 0.02, loss_down: 0.5 })]).loss).toEqual([50, 50])
  expect(series([point(10, { loss_up: undefined, loss_down: 0.5 })]).loss).toEqual([50, 50])
})

test('rows out of order or without a time are left out, since a chart needs ascending times', () => {
  expect(series([point(20), point(10), point(20), point(30, { at: 'never' })]).at).toEqual([T0 + 10, T0 + 20])
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

test.each([
  // The end of the history, now, over, the end of the axis
  [100, 105, false, 100],
  [100, 115, false, 100],
  [100, 116, false, 116],
  [100, 999, true, 100],
])('a history up to %s seen at %s, class over %s: the axis ends at %s', (to, now, ended, end) => expect(axisEnd(to, now, ended)).toBe(end))
