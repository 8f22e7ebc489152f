import { expect, test } from 'vitest'
import { csv } from './csv'
import { fileName } from './download'

test('fields are quoted where they must be, and unknown is empty', () => {
  expect(csv(['a', 'b'], [['x,y', undefined], ['say "hi"', 0], ['two\nlines', false]])).toBe(
    'a,b\r\n"x,y",\r\n"say ""hi""",0\r\n"two\nlines",false\r\n',
  )
})

test('text that a spreadsheet would run is disarmed; numbers stay numbers', () => {
  expect(csv(['a'], [['=cmd()'], ['+1'], ['@x'], [-5]])).toBe("a\r\n'=cmd()\r\n'+1\r\n'@x\r\n-5\r\n")
})

test('a file’s name is safe and dated', () => {
  expect(fileName('class-a/b c', 'csv', new Date(Date.UTC(2026, 10, 22, 14, 3, 9, 7)))).toBe('corridor-class-a_b_c-20261122T140309Z.csv')
})
