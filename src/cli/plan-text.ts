import { checkName } from '../project/check.ts'
import { typeName } from '../project/columns.ts'
import type { Dataset } from '../project/dataset.ts'
import { type Project, checkInputsOf, inputsOf } from '../project/project.ts'
import type { PartitionBy } from '../project/stream.ts'
import type { Output } from './effects.ts'
import { DEFAULT_INCLUDE } from './load-project.ts'
import type { Plan } from './plan-project.ts'
import { textTable } from './text-table.ts'

/** The plan for machines. */
export function planDocument({ project, bound, files, problems }: Plan) {
  return {
    project: project.name,
    directory: project.directory,
    include: project.config.include ?? DEFAULT_INCLUDE,
    files,
    problems,
    datasets: project.order.map((dataset) => ({
      name: dataset.name,
      kind: dataset.kind,
      materialization: dataset.kind === 'table' ? dataset.materialization : { kind: 'append' },
      columns: (bound.fields.get(dataset.name) ?? []).map(({ name, type, nullable, doc }) => ({
        name,
        type: typeName(type),
        nullable,
        ...(doc === undefined ? {} : { doc }),
      })),
      inputs: inputsOf(dataset).map(({ name }) => name),
      checkedAgainst: checkInputsOf(dataset).map(({ name }) => name),
      checks: dataset.checks.map((check) => ({
        name: checkName(check),
        severity: check.on === 'row' ? 'quarantine' : check.severity,
      })),
      sources: dataset.kind === 'stream' ? dataset.sources.map(({ kind, name, path }) => ({ kind, name, path })) : [],
      ...(dataset.doc === undefined ? {} : { doc: dataset.doc }),
      ...(dataset.place === undefined ? {} : { file: dataset.place.file, line: dataset.place.line }),
      code: bound.code.get(dataset.name) ?? null,
    })),
    endpoints: [...project.endpoints.values()].map(({ name, params, sql, doc }) => ({
      name,
      params: params.map((param) => ({ name: param.name, type: typeName(param.type), nullable: param.nullable })),
      inputs: sql.datasets.map((dataset) => dataset.name),
      ...(doc === undefined ? {} : { doc }),
    })),
    handlers: [...project.handlers.values()].map(({ name, dataset, from, batch, timeout, doc }) => ({
      name,
      dataset: dataset.name,
      from: from ?? 'present',
      batch,
      timeout,
      ...(doc === undefined ? {} : { doc }),
    })),
  }
}

/** The graph for people: each dataset under the last of those it reads. */
export function planText({ project, bound }: Plan, out: Output): string {
  const streams = [...project.datasets.values()].filter(({ kind }) => kind === 'stream').length
  const tables = project.datasets.size - streams
  const title = [
    plural(streams, 'stream'),
    plural(tables, 'table'),
    plural(project.endpoints.size, 'endpoint'),
    ...(project.handlers.size === 0 ? [] : [plural(project.handlers.size, 'handler')]),
  ].join(', ')
  const rows = tree(project).map(({ dataset, branch }) => [
    { text: branch + dataset.name, style: dataset.kind === 'stream' ? ('cyan' as const) : ('reset' as const) },
    dataset.kind,
    String(bound.fields.get(dataset.name)?.length ?? ''),
    { text: howKept(dataset), style: 'reset' as const },
    inputsText(dataset),
    checksText(dataset),
  ])
  const table = textTable(
    [
      { title: 'dataset' },
      { title: 'kind' },
      { title: 'columns', align: 'right' },
      { title: 'kept' },
      { title: 'reads' },
      { title: 'checks' },
    ],
    rows,
    out,
  )
  const endpoints = [...project.endpoints.values()].map(({ name, params, sql }) => {
    const signature = params
      .map((param) => `${param.name}${param.nullable ? '?' : ''}: ${typeName(param.type)}`)
      .join(', ')
    return `  ${out.style('cyan', `/v1/endpoints/${name}`)}${signature === '' ? '' : ` (${signature})`}${out.style('dim', ` reads ${sql.datasets.map((d) => d.name).join(', ')}`)}`
  })
  const handlers = [...project.handlers.values()].map(
    ({ name, dataset, from }) =>
      `  ${out.style('cyan', name)}${out.style('dim', ` follows ${dataset.name}${from === undefined ? '' : ' from its start'}`)}`,
  )
  return [
    `${out.style('bold', project.name)}: ${title}. No problems.`,
    '',
    table,
    ...(endpoints.length === 0 ? [] : ['', out.style('bold', 'endpoints'), ...endpoints]),
    ...(handlers.length === 0 ? [] : ['', out.style('bold', 'handlers'), ...handlers]),
  ].join('\n')
}

/** Datasets in the order of a tree: below the last of the datasets they read. */
function tree(project: Project): { dataset: Dataset; branch: string }[] {
  const position = new Map(project.order.map((dataset, i) => [dataset, i]))
  const children = new Map<Dataset | undefined, Dataset[]>()
  for (const dataset of project.order) {
    const inputs = inputsOf(dataset).filter((input) => position.has(input))
    const parent =
      inputs.length === 0 ? undefined : inputs.reduce((a, b) => (position.get(b)! > position.get(a)! ? b : a))
    children.set(parent, [...(children.get(parent) ?? []), dataset])
  }
  const lines: { dataset: Dataset; branch: string }[] = []
  const visit = (dataset: Dataset, own: string, below: string) => {
    lines.push({ dataset, branch: own })
    const next = children.get(dataset) ?? []
    next.forEach((child, i) => {
      const last = i === next.length - 1
      visit(child, `${below}${last ? '└─ ' : '├─ '}`, `${below}${last ? '   ' : '│  '}`)
    })
  }
  for (const root of children.get(undefined) ?? []) visit(root, '', '')
  return lines
}

function howKept(dataset: Dataset): string {
  const partitions = dataset.partitionBy.map(partitionText).join(', ')
  const suffix = partitions === '' ? '' : `, in files by ${partitions}`
  if (dataset.kind === 'stream') {
    const unique =
      dataset.unique === undefined
        ? ''
        : `, unique${dataset.unique.horizon === undefined ? '' : ` within ${dataset.unique.horizon}`}`
    return `append${unique}${dataset.partitions === 1 ? '' : `, ${dataset.partitions} lanes`}${suffix}`
  }
  const { materialization } = dataset
  switch (materialization.kind) {
    case 'full':
      return `whole${suffix}`
    case 'interval':
      return `by ${materialization.unit}${materialization.emit === 'closed' ? ', once it is over' : ''}${suffix}`
    case 'window': {
      const { size, every, emit } = materialization
      return `windows of ${size}${every === size ? '' : ` every ${every}`}${emit === 'closed' ? '' : ', open ones too'}${suffix}`
    }
    case 'session': {
      const { gap, by, emit } = materialization
      return `sessions by ${by.join(', ')}, gap ${gap}${emit === 'closed' ? '' : ', open ones too'}${suffix}`
    }
    case 'key':
      return `by key (${materialization.columns.join(', ')})${suffix}`
    case 'function':
      return `${materialization.call}, append${suffix}`
    case 'mapReduce':
      return `mapReduce, whole${suffix}`
  }
}

function partitionText(by: PartitionBy): string {
  return typeof by === 'string' ? by : by.by === 'identity' ? by.column : `${by.by}(${by.column})`
}

function inputsText(dataset: Dataset): string {
  if (dataset.kind === 'table')
    return inputsOf(dataset)
      .map(({ name }) => name)
      .join(', ')
  return dataset.sources.length === 0 ? 'HTTP' : ['HTTP', ...dataset.sources.map(({ path }) => path)].join(', ')
}

function checksText({ checks }: Dataset): string {
  const rows = checks.filter((check) => check.on === 'row').length
  const block = checks.filter((check) => check.on === 'dataset' && check.severity === 'block').length
  const warn = checks.length - rows - block
  return [rows > 0 ? `${rows} row` : '', block > 0 ? `${block} block` : '', warn > 0 ? `${warn} warn` : '']
    .filter((text) => text !== '')
    .join(', ')
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
