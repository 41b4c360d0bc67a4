"""Tries statements, each as the session begins and after every way to shed its role. It knows nothing but the driver:
its source is also what a hostile revision runs."""

import psycopg

BECOMING = ("DISCARD ALL", "RESET ROLE", "SET ROLE NONE", "SET SESSION AUTHORIZATION DEFAULT", "RESET ALL")
Told = tuple[str, str, str, str]
"""Of an attempt: the attack's id, how the role was shed, the SQLSTATE (00000: it ran), the message or the answer."""


def attempts(url: str, statements: list[tuple[str, str]]) -> list[Told]:
    told = []
    for way in BECOMING:
        connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
        for id_, code in statements:
            if connection.closed:
                connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
            connection.execute(way.encode())
            try:
                cursor = connection.execute(code.encode())
                while cursor.nextset():
                    pass
                row = cursor.fetchone() if cursor.description else None
                state, text = "00000", str(row[0]) if row else ""
            except psycopg.Error as error:
                state, text = error.sqlstate or "", error.diag.message_primary or str(error)
            told.append((id_, way, state, text))
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.close()  # it hangs in a transaction, or in a COPY that was let through
        connection.close()
    return told
