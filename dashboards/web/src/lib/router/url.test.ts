import { expect, test } from 'vitest'
import { classPath, oneOf, pageOf, safeNext, withParams } from './url'

test.each([
  ['/', { name: 'classes' }],
  ['/classes', { name: 'classes' }],
  ['/classes/maths%2F7b', { name: 'class', id: 'maths/7b' }],
  ['/classes/new-class', { name: 'class', id: 'new-class' }],
  ['/classes/%E0%A4%A', { name: 'not-found' }],
  ['/classes/a/b', { name: 'not-found' }],
  ['/edges/', { name: 'edges' }],
  ['/edges/fra', { name: 'not-found' }],
  ['/toString', { name: 'not-found' }],
])('%s', (path, page) => expect(pageOf(path)).toEqual(page))

test('a class’s address leads back to it', () => {
  for (const id of ['a', 'ü/?#&%', 'new-class']) {
    const page = pageOf(classPath(id))
    expect(page).toEqual({ name: 'class', id })
  }
})

test('parameters are set, changed and taken away', () => {
  expect(withParams('/', '?q=a&state=live', { q: 'b c' })).toBe('/?q=b+c&state=live')
  expect(withParams('/', '?q=a', { q: '' })).toBe('/')
  expect(withParams('/', '?q=a&x=1', { q: null, state: 'live' })).toBe('/?x=1&state=live')
})

test('unknown words fall back', () => expect(oneOf('evil', ['asc', 'desc'], 'asc')).toBe('asc'))

test.each([
  [null, '/'],
  ['/edges?x=1', '/edges?x=1'],
  ['//evil.example', '/'],
  ['https://evil.example', '/'],
  ['/\\evil.example', '/'],
  ['/login?next=/', '/'],
])('after log-in, %s goes to %s', (next, to) => expect(safeNext(next)).toBe(to))
