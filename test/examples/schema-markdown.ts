import { checkName } from '../../src/project/check.ts'
import { type Field, typeName } from '../../src/project/columns.ts'
import type { Dataset } from '../../src/project/dataset.ts'
import { type Project, inputsOf } from '../../src/project/project.ts'

/** The schema of a project as Markdown, from its declarations: datasets, columns, checks, sources, endpoints. */
export function schemaMarkdown(project: Project, fields: ReadonlyMap<string, readonly Field[]>): string {
  return [
    `# Schema of ${project.name}`,
    'Generated from the declarations; do not edit.',
    ...project.order.flatMap((dataset) => datasetMarkdown(dataset, fields.get(dataset.name) ?? [])),
    '## Endpoints',
    table(
      ['endpoint', 'parameters', 'answers'],
      [...project.endpoints.values()].map((endpoint) => [
        `\`GET /v1/endpoints/${endpoint.name}\``,
        endpoint.params.map((p) => `\`${p.name}\` ${typeName(p.type)}${p.nullable ? ', optional' : ''}`).join('<br>'),
        endpoint.doc ?? '',
      ]),
    ),
  ].join('\n\n')
}

function datasetMarkdown(dataset: Dataset, fields: readonly Field[]): string[] {
  const inputs = inputsOf(dataset).map((input) => `\`${input.name}\``)
  const facts = [
    dataset.kind === 'stream' ? 'Stream.' : `Table, ${materialization(dataset.materialization)}.`,
    ...(dataset.doc === undefined ? [] : [dataset.doc]),
    ...(inputs.length === 0 ? [] : [`Reads ${inputs.join(', ')}.`]),
    ...(dataset.kind === 'stream' && dataset.unique ? [`One row per ${dataset.unique.columns.join(', ')}.`] : []),
  ]
  const checks = dataset.checks.map((check) => [
    `\`${checkName(check)}\``,
    check.on === 'row'
      ? 'the row goes to quarantine'
      : check.severity === 'block'
        ? 'the last good rows stay published'
        : 'a warning',
  ])
  const sources = dataset.kind === 'stream' ? dataset.sources : []
  return [
    `## ${dataset.name}`,
    facts.join(' '),
    table(
      ['column', 'type', 'null', 'meaning'],
      fields
        .filter((field) => !field.name.startsWith('_'))
        .map((field) => [`\`${field.name}\``, typeName(field.type), field.nullable ? 'yes' : '', field.doc ?? '']),
    ),
    ...(checks.length === 0 ? [] : [table(['check', 'when it fails'], checks)]),
    ...(sources.length === 0
      ? []
      : [
          table(
            ['source', 'files', 'encoding', 'means missing', 'never read'],
            sources.map((source) => [
              source.name,
              `\`${source.path}\``,
              source.encoding ?? 'utf-8',
              (source.nulls ?? ['']).map((text) => (text === '' ? '(empty)' : `\`${text}\``)).join(' '),
              (source.exclude ?? []).map((field) => `\`${field}\``).join(' '),
            ]),
          ),
        ]),
  ]
}

function materialization(kind: Extract<Dataset, { kind: 'table' }>['materialization']): string {
  if (kind.kind === 'interval') return `recomputed by ${kind.unit}`
  return kind.kind === 'key' ? `the latest row per ${kind.columns.join(', ')}` : 'recomputed whole'
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
