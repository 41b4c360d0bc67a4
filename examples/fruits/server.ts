// Names of fruits, and a filter for them: /?filter=app. The table comes from migrations/, not from here.
import { serve } from "bun";
import postgres from "postgres";

const sql = postgres(process.env.DATABASE_URL!);

serve({
  port: Number(process.env.PORT ?? 80),
  async fetch(request) {
    const filter = new URL(request.url).searchParams.get("filter") ?? "";
    const rows = await sql<{ name: string }[]>`
      SELECT name FROM items WHERE name ILIKE ${"%" + filter + "%"} ORDER BY name
    `;
    return Response.json(rows);
  },
});
