import { conformance } from '../../log/conformance.ts'
import { kafkaHome } from './home.ts'

conformance('kafka', () => kafkaHome())
