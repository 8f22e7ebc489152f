import { expect, test } from 'vitest'
import type { Event } from '../api/types'
import { marks } from './lane'

const event = (at: number, kind: string): Event => ({ at: new Date(at * 1000).toISOString(), kind, text: kind, detail: {} })
const shown = (events: readonly Event[]) => marks(events, 0, 100, 1000, 20).map(({ share, events: own, look }) => `${share} ${own.length} ${look.icon}`)

test('what lies apart has a mark of its own', () => expect(shown([event(10, 'plan'), event(12, 'switch')])).toEqual(['0.1 1 neutral', '0.12 1 switch']))

test('what lies too close is one mark, which looks like the weightiest and loses nothing', () =>
  expect(shown([event(10, 'plan'), event(11, 'lost'), event(11.9, 'switch'), event(12, 'switch')])).toEqual(['0.1 3 critical', '0.12 1 switch']))

test('what is outside, or at no time, has none', () => expect(shown([event(-1, 'lost'), event(101, 'lost'), { ...event(1, 'lost'), at: 'never' }])).toEqual([]))
