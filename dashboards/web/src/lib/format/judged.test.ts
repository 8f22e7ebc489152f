import { expect, test } from 'vitest'
import { judgedP95, oneWayText } from './judged'

const rtt_ms = { p50: 100, p95: 120 }

test.each([
  [{}, undefined],
  [{ rtt_ms }, 120],
  [{ rtt_ms, one_way_ms: { p50: 70, p95: 90, error: 8 } }, 90],
])('%j is judged by %s ms', (delays, p95) => expect(judgedP95(delays)).toBe(p95))

test('what a one-way delay stands for is said', () => {
  expect(oneWayText({ p50: 50, p95: 60 })).toBe('each way, as half of the round trip')
  expect(oneWayText({ p50: 50, p95: 60, error: 8 })).toBe('the worse way, 8.0 ms of doubt included')
})
