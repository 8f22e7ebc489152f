import { expect, test } from 'vitest'
import type { LinkStatus } from '../api/types'
import { direction, oneWayDelay } from './cell'
import { over, push, type Counters } from './minute-loss'

const link = (more: Partial<LinkStatus> = {}): LinkStatus => ({ from: 'a', to: 'b', window_s: 10, sent: 600, lost: 0, loss: 0, age_s: 2, ...more })

test.each([
  [undefined, undefined, 0, 'unknown'],
  [link({ loss: undefined }), undefined, 0, 'unknown'],
  [link(), { sent: 600, lost: 0 }, 0, 'ok'],
  // One lost probe is no alarm, however few were sent.
  [link(), { sent: 10, lost: 1 }, 0, 'ok'],
  [link(), { sent: 200, lost: 2 }, 0, 'warn'],
  [link(), { sent: 201, lost: 2 }, 0, 'ok'],
  [link(), { sent: 60, lost: 3 }, 0, 'critical'],
  [link(), { sent: 61, lost: 3 }, 0, 'warn'],
  [link(), { sent: 2, lost: 2 }, 0, 'warn'],
  [link({ loss: 1 }), undefined, 0, 'critical'],
  [link({ loss: 0.05 }), undefined, 0, 'warn'],
  [link({ loss: 0.049 }), undefined, 0, 'ok'],
  [link({ age_s: 21 }), { sent: 600, lost: 0 }, 0, 'stale'],
  [link(), { sent: 600, lost: 0 }, 11, 'stale'],
  [link(), { sent: 600, lost: 0 }, null, 'stale'],
] as const)('%j with %j a minute, feed %s s old: %s', (of, minute, age, tone) => expect(direction(of, minute, age).look.tone).toBe(tone))

function history(readings: readonly (readonly [number, number, number])[]): Counters[] {
  return readings.reduce<Counters[]>((kept, [at, sent, lost]) => push(kept, { at, sent, lost }), [])
}

test('loss is counted over the last minute, from the newest reading that is as old', () => {
  expect(over(history([[0, 100, 9], [30, 130, 9], [60, 160, 10], [90, 190, 12]]))).toEqual({ sent: 60, lost: 3 })
})

test('a prober that starts anew starts the count anew', () => {
  expect(over(history([[0, 100, 9], [10, 5, 0]]))).toBeUndefined()
  expect(over(history([[0, 100, 9], [10, 5, 0], [20, 15, 1]]))).toEqual({ sent: 10, lost: 1 })
})

test('nothing sent is nothing known', () => expect(over(history([[0, 5, 0], [10, 5, 0]]))).toBeUndefined())

test('a history stays short', () => {
  const readings = Array.from({ length: 500 }, (_, i) => [i, i, 0] as const)
  expect(history(readings).length).toBeLessThanOrEqual(62)
})

test.each([
  [72, 36, { value: 72, bound: 36 }],
  [72, 36.1, undefined],
  [undefined, 1, undefined],
  [72, undefined, undefined],
])('a delay of %s ms ±%s', (owd_ms, owd_error_ms, told) => expect(oneWayDelay(link({ owd_ms, owd_error_ms }))).toEqual(told))
