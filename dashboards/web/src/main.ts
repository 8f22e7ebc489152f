import { mount } from 'svelte'
import './styles/tokens.css'
import './styles/base.css'
import './styles/components.css'
import 'uplot/dist/uPlot.min.css'
import App from './App.svelte'

const target = document.getElementById('app')
if (target === null) throw new Error('the page has no #app')
mount(App, { target })
