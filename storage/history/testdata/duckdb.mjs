// Runs SQL in DuckDB: node duckdb.mjs PACKAGE < statements.json, where PACKAGE is the folder of @duckdb/node-api. Prints the rows
// of each statement, in JSON.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const { DuckDBInstance } = await import(pathToFileURL(join(process.argv[2], 'lib/index.js')))
const connection = await (await DuckDBInstance.create()).connect()
const results = []
for (const sql of JSON.parse(readFileSync(0, 'utf8'))) {
	results.push(await (await connection.run(sql)).getRowObjectsJson())
}
console.log(JSON.stringify(results))
