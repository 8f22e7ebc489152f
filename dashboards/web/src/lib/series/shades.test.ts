import { expect, test } from 'vitest'
import type { Point } from '../api/types'
import { lasted, shades } from './shades'

const T0 = Date.UTC(2026, 10, 22, 12) / 1000
/** A window of 10 s that ends so many seconds after T0. */
const point = (ends: number, quality: Point['quality'] = 'good', more: Partial<Point> = {}): Point => ({
  at: new Date((T0 + ends) * 1000).toISOString(),
  length_s: 10,
  route: ['fra'],
  quality,
  ...more,
})
const told = (points: readonly Point[], from: number, to: number) =>
  shades(points, T0 + from, T0 + to).map(({ from: a, to: b, state }) => `${a - T0}–${b - T0} ${state}`)

test.each([
  ['all is well', [point(10), point(20)], 0, 20, []],
  ['a gap between windows', [point(10), point(40)], 0, 40, ['10–30 no_data']],
  ['a gap before the first window', [point(60)], 0, 60, ['0–50 no_data']],
  ['nothing at all', [], 0, 60, ['0–60 no_data']],
  // The next report may be on its way.
  ['20 s after the newest window', [point(10)], 0, 30, []],
  ['more than 20 s after it', [point(10)], 0, 31, ['10–31 no_data']],
  ['windows of one state are one stretch', [point(10, 'at_risk'), point(20, 'at_risk'), point(30, 'outage')], 0, 30, ['0–20 at_risk', '20–30 outage']],
  ['unknown is no data', [point(10, 'unknown'), point(20)], 0, 20, ['0–10 no_data']],
  ['what lies outside is cut', [point(10, 'at_risk')], 5, 8, ['5–8 at_risk']],
] as const)('%s', (_, points, from, to, expected) => expect(told(points, from, to)).toEqual(expected))

test('each state’s time is summed', () => {
  const all = shades([point(10, 'at_risk'), point(20), point(30, 'at_risk'), point(60, 'outage')], T0, T0 + 60)
  expect(lasted(all)).toEqual({ at_risk: 20, outage: 10, no_data: 20 })
})
