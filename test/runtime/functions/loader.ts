import type { Declaration } from '../../../src/project/dataset.ts'
import { Project } from '../../../src/project/project.ts'
import * as declarations from './project.ts'

export async function loadProject(directory: string): Promise<Project> {
  const all: Declaration[] = Object.values(declarations)
  return new Project({ name: 'functions', directory, config: {}, declarations: all })
}
