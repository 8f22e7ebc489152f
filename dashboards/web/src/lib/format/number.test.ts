import { expect, test } from 'vitest'
import { bytes, compact, ms, percent } from './number'

test.each([
  [undefined, '–'],
  [Number.NaN, '–'],
  [0.304, '0.30 ms'],
  [0.994, '0.99 ms'],
  [0.995, '1.0 ms'],
  [9.94, '9.9 ms'],
  [9.95, '10 ms'],
  [199.6, '200 ms'],
  [2000, '2,000 ms'],
])('ms(%s) is %s', (value, text) => expect(ms(value)).toBe(text))

test.each([
  [undefined, '–'],
  [0, '0 %'],
  [0.00001, '<0.1 %'],
  [0.001, '0.1 %'],
  [0.0994, '9.9 %'],
  [0.0995, '10 %'],
  [1, '100 %'],
])('percent(%s) is %s', (value, text) => expect(percent(value)).toBe(text))

test.each([
  [undefined, '–'],
  [0, '0'],
  [9999, '9,999'],
  [10_000, '10.0 k'],
  [999_499, '999 k'],
  [999_500, '1.0 M'],
  [7.34e12, '7340 G'],
])('compact(%s) is %s', (value, text) => expect(compact(value)).toBe(text))

test.each([
  [999, '999 B'],
  [1000, '1.0 kB'],
  [34_000_000, '34 MB'],
])('bytes(%s) is %s', (value, text) => expect(bytes(value)).toBe(text))
