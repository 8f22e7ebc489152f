import { expect, test } from 'vitest'
import type { Surroundings, TraceHop } from '../api/types'
import { facts, hopLoss, traceIn } from './around'

const SEEN: Surroundings = {
  at: '2026-01-01T00:00:00Z',
  link_type: 'wifi',
  gateway_rtt_ms: 2.4,
  outside_rtt_ms: 11.6,
  outside_hop: 3,
  wifi: { signal_dbm: -71, tx_mbps: 433.3, channel: 36 },
  host: { cpu: 0.42, load: 1.5, processors: 4, memory_bytes: 8e9, available_bytes: 2.5e9 },
  stalls: { count: 2, worst_ms: 350 },
}

test('everything has its unit', () => {
  expect(facts(SEEN).map(({ name, text }) => `${name}: ${text}`)).toEqual([
    'Link: Wi-Fi',
    'Gateway: 2.4 ms',
    'First hop outside: 12 ms, hop 3',
    'Wi-Fi: -71 dBm, 433 Mbit/s up, channel 36',
    'Machine: CPU 42 %, load 1.50 on 4, 2.5 GB free of 8.0 GB',
    'Stalls: 2, worst 350 ms',
  ])
})

test('what was not seen says why, and what nobody speaks of is left out', () => {
  const seen = { at: '', not_seen: { gateway: 'no answer', wifi: 'not a wireless link' } }
  expect(facts(seen)).toEqual([
    { name: 'Gateway', text: 'not seen: no answer', seen: false, bad: false },
    { name: 'Wi-Fi', text: 'not seen: not a wireless link', seen: false, bad: false },
  ])
})

test.each([
  [{}, ['Wi-Fi', 'Stalls']],
  [{ wifi: { signal_dbm: -67 }, stalls: { count: 1, worst_ms: 299 } }, []],
  [{ wifi: { signal_dbm: -68 }, stalls: { count: 0, worst_ms: 3 } }, ['Wi-Fi']],
  [{ gateway_rtt_ms: 50, host: { cpu: 0.9 } }, ['Gateway', 'Wi-Fi', 'Machine', 'Stalls']],
  [{ gateway_rtt_ms: 49, host: { cpu: 0.89 }, wifi: {} }, ['Stalls']],
])('%j is marked', (change, marked) => {
  expect(facts({ ...SEEN, ...change }).filter(({ bad }) => bad).map(({ name }) => name)).toEqual(marked)
})

const HOP: TraceHop = { hop: 1, addresses: ['192.168.1.0/24'], sent: 3, answered: 3, limits_answers: false }

test('a trace is taken from a detail, or nothing', () => {
  const trace = { at: '', toward: 'edge:fra', reached: true, hops: [HOP] }
  expect(traceIn({ trace })).toEqual(trace)
  for (const detail of [null, 'x', {}, { trace: null }, { trace: { hops: 'x' } }, { trace: { hops: [1] } }, { trace: { hops: [{ hop: 1 }] } }])
    expect(traceIn(detail)).toBeUndefined()
})

test.each([
  [{ loss: 0 }, '0 %'],
  [{ loss: 0.5 }, '50 %'],
  [{}, '–'],
  [{ limits_answers: true }, 'limits its answers'],
  [{ loss: 0, unreachable: 'prohibited' }, 'prohibited'],
])('loss of %j', (change, text) => expect(hopLoss({ ...HOP, ...change })).toBe(text))
