r"""Small SQL texts in which it is easy to see an end of a statement where there is none, or to miss one.

Each stands for itself: none uses what another one makes. They are deployed as revisions, and given to psql as they are.
"""

from __future__ import annotations

_CORPUS: dict[str, str] = {
    "nothing": "",
    "comments alone": "-- one\n/* two */\n",
    "empty statements": ";;\nCREATE TABLE a1 (a int);;\n;\n",
    "several on a line": "CREATE TABLE a2 (a int); INSERT INTO a2 VALUES (1); INSERT INTO a2 VALUES (2);",
    "no semicolon at the end": "CREATE TABLE a3 (a int);\nINSERT INTO a3 VALUES (1)",
    "no semicolon and a comment": "CREATE TABLE a4 (a int) -- the end",
    "a semicolon in a comment": "CREATE TABLE a5 (a int -- not; here\n, b int);",
    "a quote in a comment": "-- it's\nCREATE TABLE a6 (a int); /* isn't */ INSERT INTO a6 VALUES (1);",
    "nested comments": "/* a /* b; */ ; ' */ CREATE TABLE a7 (a int); /*/* */;*/",
    "a comment that looks nested": "CREATE TABLE a8 (a text DEFAULT '/*'); INSERT INTO a8 VALUES ('*/');",
    "dashes in a comment": "/* -- */ CREATE TABLE a9 (a int); /* --*/",
    "a comment in a line comment": "-- /* \nCREATE TABLE a10 (a int); -- */\n",
    "an operator and a comment": "CREATE TABLE a11 AS SELECT 1+/* ; */2 AS a, 3--;\n-1 AS b;",
    "a semicolon in a string": "CREATE TABLE b1 (a text); INSERT INTO b1 VALUES ('x;y'), (';');",
    "doubled quotes": "CREATE TABLE b2 (a text); INSERT INTO b2 VALUES ('it''s; so'), (''''), ('');",
    "lines in a string": "CREATE TABLE b3 (a text); INSERT INTO b3 VALUES ('one;\n-- two\n/* three');",
    "a backslash in a string": "CREATE TABLE b4 (a text); INSERT INTO b4 VALUES ('c:\\'), ('\\n;');",
    "escapes": r"CREATE TABLE b5 (a text); INSERT INTO b5 VALUES (E'it\'s; so'), (e'\\'), (E'\n;\x41');",
    "strings that go on": "CREATE TABLE b7 (a text); INSERT INTO b7 VALUES ('a'\n'b;'\n  'c\\');",
    "unicode escapes": r"CREATE TABLE b8 (a text); INSERT INTO b8 VALUES (U&'\0041;'), (U&'!0042' UESCAPE '!');",
    "bits": "CREATE TABLE b9 (a bit(4), b bit(8)); INSERT INTO b9 VALUES (B'1010', X'ff');",
    "national": "CREATE TABLE b10 (a text); INSERT INTO b10 VALUES (N'x;y\\');",
    "a type before a string": "CREATE TABLE b11 AS SELECT date'2026-01-01' AS a, time'10:00' AS b, text';' AS c;",
    "quoted names": 'CREATE TABLE "b;12" ("a""b;" int, "c--" int, "d/*" int); INSERT INTO "b;12" VALUES (1, 2, 3);',
    "unicode names": 'CREATE TABLE b13 (U&"d\\0061t;" int);',
    "a quote in a name": 'CREATE TABLE "b\'14" (a int); INSERT INTO "b\'14" VALUES (1);',
    "percent and colon": "CREATE TABLE c1 (a text); INSERT INTO c1 VALUES ('100%'), ('%s'), (':a'), ('%(a)s'), ('%%');",
    "percent as operator": "CREATE TABLE c2 AS SELECT 7 % 4 AS a, 1::bigint AS b, '{1,2}'::int[] AS c;",
    "slices": "CREATE TABLE c3 AS SELECT (ARRAY[1,2,3])[1:2] AS a;",
    "a question mark": "CREATE TABLE c4 AS SELECT '{\"a\": 1}'::jsonb ? 'a' AS a;",
    "a dollar in a name": "CREATE TABLE c5$x$ (a$b$ int); INSERT INTO c5$x$ VALUES (1);",
    "not ASCII": "CREATE TABLE äpfel (größe text DEFAULT 'groß;→'); INSERT INTO äpfel VALUES ('ü🍎');",
    "odd letters in names": "CREATE TABLE c6→x (a int); INSERT INTO c6→x VALUES (1);",
    "a space that does not break": "CREATE TABLE c7\u00a0x (a int);",
    "dollar quotes": "CREATE TABLE d1 (a text); INSERT INTO d1 VALUES ($$it's; $x so$$), ($$$$), ($$\n$$);",
    "dollar quotes with a name": (
        "CREATE TABLE d2 (a text); INSERT INTO d2 VALUES ($a$ $$;$$ $b$;$b$ $a$), ($ä_1$;$ä_1$);"
    ),
    "a function": (
        "CREATE TABLE d3 (a int);\nCREATE FUNCTION d3f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n"
        "  INSERT INTO fruits.d3 VALUES (1); RETURN 1;\nEND;\n$$;\nSELECT d3f();"
    ),
    "a function in quotes": "CREATE FUNCTION d4f() RETURNS text LANGUAGE sql AS 'SELECT ''a;b'';' ;",
    "a function in a function": (
        "CREATE FUNCTION d5f() RETURNS void LANGUAGE plpgsql AS $a$ BEGIN EXECUTE $b$ SELECT $c$;$c$; $b$; END $a$;"
    ),
    "parameters": "CREATE FUNCTION d6f(int, text) RETURNS text LANGUAGE sql AS $_$ SELECT $2 || $1; $_$;",
    "DO": "DO $$ BEGIN CREATE TABLE d7 (a int); INSERT INTO d7 VALUES (1); END $$;",
    "DO with a loop": (
        "CREATE TABLE d8 (a int);\nDO $do$\nBEGIN\n  FOR i IN 1..3 LOOP INSERT INTO d8 VALUES (i); "
        "END LOOP;\nEND\n$do$;"
    ),
    "DO with CASE and END": (
        "CREATE TABLE d9 (a text); DO 'BEGIN INSERT INTO d9 VALUES (CASE WHEN true THEN ''a;'' END); END';"
    ),
    "a body of the standard": (
        "CREATE TABLE e1 (a int);\nCREATE PROCEDURE e1p(b int) BEGIN ATOMIC\n  INSERT INTO e1 VALUES (b);\n"
        "  INSERT INTO e1 VALUES (b + 1);\nEND;\nCALL e1p(1);"
    ),
    "a body with CASE": (
        "CREATE FUNCTION e2f(a int) RETURNS text LANGUAGE sql BEGIN ATOMIC\n"
        "  SELECT CASE a WHEN 1 THEN 'x' ELSE CASE WHEN a > 2 THEN 'y' END END;\n  SELECT 'z';\nEND;\nSELECT e2f(1);"
    ),
    "a body with END as a name": (
        'CREATE OR REPLACE FUNCTION e3f() RETURNS int BEGIN ATOMIC SELECT 1 AS "end"; SELECT 2; END; '
        "CREATE TABLE e3 (a int);"
    ),
    "a body in small letters": (
        "create or replace function e4f() returns int language sql begin atomic select 1; end; create table e4 (a int);"
    ),
    "a body with RETURN": "CREATE FUNCTION e5f(a int) RETURNS int RETURN a + 1; CREATE TABLE e5 AS SELECT e5f(1) AS a;",
    "BEGIN as a name": 'CREATE TABLE e6 ("begin" int, "end" int); INSERT INTO e6 ("begin") VALUES (1);',
    "CASE outside of a body": "CREATE TABLE e7 AS SELECT CASE WHEN true THEN 1 END AS a; INSERT INTO e7 VALUES (2);",
    "a body and a comment": (
        "CREATE FUNCTION e8f() RETURNS int BEGIN /* ; */ ATOMIC -- ;\n SELECT 1; -- END;\nEND; SELECT e8f();"
    ),
    "an empty body": "CREATE PROCEDURE e9p() BEGIN ATOMIC END; CREATE TABLE e9 (a int);",
    "a rule with several": (
        "CREATE TABLE f1 (a int); CREATE TABLE f1log (a int);\n"
        "CREATE RULE r AS ON INSERT TO f1 DO ALSO (INSERT INTO f1log VALUES (new.a); INSERT INTO f1log VALUES (0););\n"
        "INSERT INTO f1 VALUES (5);"
    ),
    "a rule with nothing": "CREATE TABLE f2 (a int); CREATE RULE r AS ON DELETE TO f2 DO INSTEAD NOTHING;",
    "parentheses in strings": "CREATE TABLE f3 (a text); INSERT INTO f3 VALUES ('('); INSERT INTO f3 VALUES (')');",
    "parentheses in names": 'CREATE TABLE f4 ("(" int); INSERT INTO f4 VALUES (1); -- (\nINSERT INTO f4 VALUES (2);',
    "COPY": (
        "CREATE TABLE g1 (a int, b text);\nCOPY g1 FROM STDIN;\n1\tit's; $$\n2\t\\N\n3\t-- /*\n\\.\n"
        "INSERT INTO g1 VALUES (4);"
    ),
    "COPY with columns": 'CREATE TABLE g2 (a int, "from" text);\nCOPY g2 ("from", a) FROM stdin;\nx\t1\n\\.\n',
    "COPY of CSV": (
        'CREATE TABLE g3 (a int, b text);\nCOPY g3 FROM STDIN WITH (FORMAT csv, HEADER);\na,b\n1,"x;\ny"\n\\.\n'
    ),
    "COPY of nothing": "CREATE TABLE g4 (a int);\nCOPY g4 FROM STDIN;\n\\.\nINSERT INTO g4 VALUES (1);",
    "COPY with a comment": "CREATE TABLE g5 (a int);\n/* rows */ COPY g5 -- here\nFROM STDIN; -- they come\n1\n\\.\n",
    "COPY with escapes": (
        "CREATE TABLE g6 (a text);\nCOPY g6 FROM STDIN;\nx\\ty\\\\z\\nä\n\\.\nINSERT INTO g6 VALUES ('\\.');"
    ),
    "COPY of two": "CREATE TABLE g7 (a int);\nCOPY g7 FROM STDIN;\n1\n\\.\nCOPY g7 FROM STDIN;\n2\n\\.\n",
    "COPY with lines of CRLF": (
        "CREATE TABLE g9 (a int, b text);\r\nCOPY g9 FROM STDIN;\r\n1\tx\r\n2\ty\r\n\\.\r\n"
        "INSERT INTO g9 VALUES (3);\r\n"
    ),
    "strings that are no standard ones": (
        "SET escape_string_warning = off; SET standard_conforming_strings = off;\nCREATE TABLE h1 (a text);\n"
        "INSERT INTO h1 VALUES ('it\\'s; so'), (N'\\'');\nRESET standard_conforming_strings;\n"
        "INSERT INTO h1 VALUES ('\\');"
    ),
    "strings set to another way and back": (
        "SET LOCAL escape_string_warning TO off; SET LOCAL standard_conforming_strings TO 'off';\n"
        "CREATE TABLE h2 (a text);\nINSERT INTO h2 VALUES ('\\';');\nSET standard_conforming_strings = on;\n"
        "INSERT INTO h2 VALUES ('\\');"
    ),
    "strings set by a function": (
        "SET escape_string_warning = off;\nSELECT set_config('standard_conforming_strings', 'off', false);\n"
        "CREATE TABLE h3 (a text); INSERT INTO h3 VALUES ('\\';');\n"
        "SELECT pg_catalog.set_config('standard_conforming_strings', 'on', false);\nINSERT INTO h3 VALUES ('\\');"
    ),
    "CRLF": "CREATE TABLE i1 (a text);\r\n-- one\r\nINSERT INTO i1 VALUES ('x;\r\ny'),\r\n ($$z\r\n$$);\r\n",
    "CR alone": "CREATE TABLE i2 (a int); -- one\rINSERT INTO i2 VALUES (1);",
    "a form feed": "CREATE TABLE i3 (a int);\f\tINSERT INTO i3 VALUES (1);\n\n\n",
    "a large insert": "CREATE TABLE j1 (a int, b text);\nINSERT INTO j1 VALUES "
    + ",\n".join(f"({n}, 'row; {n}')" for n in range(5000))
    + ";",
    "many statements": "CREATE TABLE j2 (a int);\n" + "".join(f"INSERT INTO j2 VALUES ({n});\n" for n in range(200)),
    "a long string": f"CREATE TABLE j3 (a text); INSERT INTO j3 VALUES ('{'x;' * 50000}');",
    "many kinds": (
        "CREATE TYPE k1 AS ENUM ('a;', 'b'); CREATE SEQUENCE k1s START 5;\nCREATE TABLE k1t (a k1, b int DEFAULT "
        "nextval('k1s')); INSERT INTO k1t VALUES ('a;'); CREATE VIEW k1v AS SELECT a FROM k1t WHERE a <> 'b';\n"
        "COMMENT ON TABLE k1t IS 'it''s; so'; CREATE INDEX k1i ON k1t ((b + 1)) WHERE b > 0;"
    ),
    "a trigger": (
        "CREATE TABLE k2 (a int);\n"
        "CREATE FUNCTION k2f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN new.a := 7; RETURN "
        "new; END; $f$;\nCREATE TRIGGER t BEFORE INSERT ON k2 FOR EACH ROW EXECUTE FUNCTION k2f();\n"
        "INSERT INTO k2 VALUES (1);"
    ),
    "partitions": (
        "CREATE TABLE k3 (a int) PARTITION BY RANGE (a); CREATE TABLE k3a PARTITION OF k3 FOR VALUES FROM (0) TO (9);"
        "INSERT INTO k3 VALUES (1);"
    ),
    "savepoints": (
        "CREATE TABLE k4 (a int); SAVEPOINT s; INSERT INTO k4 VALUES (1); ROLLBACK TO s; INSERT INTO k4 VALUES (2);"
    ),
    "answers": (
        "SELECT 1; VALUES (1), (2); CREATE TABLE k5 (a int); INSERT INTO k5 VALUES (1) RETURNING a; "
        "TABLE k5; SHOW search_path;"
    ),
    "cursors": (
        "CREATE TABLE k6 (a int); DECLARE c CURSOR FOR SELECT 1; FETCH c; CLOSE c; PREPARE p AS SELECT 1; "
        "EXECUTE p; DEALLOCATE p;"
    ),
    "a section's name in a line": "CREATE TABLE k7 (a text); INSERT INTO k7 VALUES (' -- migrate:down');",
}


def files() -> dict[str, bytes]:
    """What is in each file, by its name. One begins with a byte order mark."""
    texts = {
        f"{number:04}_{name.replace(' ', '_').lower()}.sql": f"-- migrate:up\n{text}".encode()
        for number, (name, text) in enumerate(_CORPUS.items(), 1)
    }
    return {**texts, "9999_mark.sql": b"\xef\xbb\xbf-- migrate:up\r\nCREATE TABLE z (a int);"}
