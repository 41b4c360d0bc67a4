// Counts the visits of each path, and answers with the ten that are visited most.
const http = require("node:http");
const { Pool } = require("pg");

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 5 });

const count = `
  INSERT INTO visits (path) VALUES ($1)
  ON CONFLICT (path) DO UPDATE SET times = visits.times + 1, last_at = now()
`;
const most = "SELECT path, times FROM visits ORDER BY times DESC, path LIMIT 10";

const server = http.createServer(async (request, response) => {
  try {
    await pool.query(count, [request.url]);
    const { rows } = await pool.query(most);
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(rows));
  } catch (error) {
    console.error(error.message);
    response.writeHead(503).end();
  }
});

server.listen(Number(process.env.PORT ?? 80));
