import { expect, test } from 'vitest'
import type { Event } from '../api/types'
import { merge, told } from './events'

const event = (at: number, text: string): Event => ({ at: new Date(at * 1000).toISOString(), kind: 'switch', text, detail: {} })

test('events from the history and the feed are one list, each once', () => {
  expect(merge([event(2, 'b'), event(1, 'a')], [event(2, 'b'), event(3, 'c')]).map(({ text }) => text)).toEqual(['a', 'b', 'c'])
})

const of = (kind: string, text: string, detail: unknown, subject?: string): Event => ({ at: '', kind, text, detail, ...(subject === undefined ? {} : { subject }) })

test.each([
  [
    of('switch', 'anna: route fra > hkg -> direct: its median was 311 ms', { from: ['fra', 'hkg'], to: [] }, 'anna'),
    { kind: 'Switch', who: 'anna', from: ['fra', 'hkg'], to: [], words: 'its median was 311 ms' },
  ],
  [of('plan', 'anna: plan by fra: best', { route: ['fra'], version: 3 }, 'anna'), { kind: 'Plan 3', who: 'anna', to: ['fra'], words: 'best' }],
  [of('joined', 'anna has joined', {}, 'anna'), { kind: 'Joined', who: 'anna', words: 'has joined' }],
  [of('created', 'class x is created', {}), { kind: 'Created', words: 'class x is created' }],
  // What is not said as expected stays whole.
  [of('switch', 'anna: another way', { from: ['fra'], to: ['hkg'] }, 'anna'), { kind: 'Switch', who: 'anna', words: 'another way' }],
  [of('switch', 'anna: route fra -> hkg: x', { from: [1], to: [2] }, 'anna'), { kind: 'Switch', who: 'anna', words: 'route fra -> hkg: x' }],
  [of('switch', 'route fra -> hkg: x', null, 'anna'), { kind: 'Switch', who: 'anna', words: 'route fra -> hkg: x' }],
  [of('new_kind', 'x', null), { kind: 'New kind', words: 'x' }],
] as const)('%j', (given, expected) => expect(told(given)).toEqual(expected))
