import { conformance } from './conformance.ts'
import { localHome } from './home.ts'

conformance('local', () => localHome())
