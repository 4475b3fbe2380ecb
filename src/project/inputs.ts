import type { Dataset } from './dataset.ts'

/** The datasets a dataset is computed from. */
export function inputsOf(dataset: Dataset): Dataset[] {
  return dataset.kind === 'table' ? dataset.sql.datasets : []
}

/** Whether rows of a dataset can be refused, and then are in its quarantine. */
export function refusesRows(dataset: Dataset): boolean {
  return dataset.kind === 'stream' || dataset.transform !== undefined
}

/** The datasets a dataset's checks look at beside itself. */
export function checkInputsOf(dataset: Dataset): Dataset[] {
  const found = new Set<Dataset>()
  for (const check of dataset.checks) {
    if (check.rule === 'sumEquals' || check.rule === 'reference') found.add(check.dataset)
    if (check.rule === 'sql' || check.rule === 'predicate') for (const used of check.sql.datasets) found.add(used)
  }
  found.delete(dataset)
  return [...found]
}
