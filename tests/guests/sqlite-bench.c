// SQLite at work: creates a table and an index, inserts, selects, updates and deletes.
//
//   sqlite-bench memory [ROWS] [TRANSACTIONS]       in memory; 200000 rows in 100 transactions when not given
//   sqlite-bench file PATH [ROWS] [TRANSACTIONS]    in a new file; 50000 rows in 500
//
// Both a guest and its native twin lock a file by a directory beside it (unix-dotfile), so that they make the
// same calls. A line for each phase with its milliseconds; the numbers before them are the same everywhere.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sqlite3.h"

static sqlite3 *db;

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void need(int code) {
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) return;
    fprintf(stderr, "sqlite-bench: %s\n", db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    exit(1);
}

static void run(const char *sql) {
    need(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static sqlite3_stmt *prepare(const char *sql) {
    sqlite3_stmt *statement;
    need(sqlite3_prepare_v2(db, sql, -1, &statement, NULL));
    return statement;
}

static long long number(sqlite3_stmt *statement) {
    need(sqlite3_step(statement));
    long long result = sqlite3_column_int64(statement, 0);
    need(sqlite3_reset(statement));
    return result;
}

static void phase(const char *name, long long result, double *since) {
    double now = now_ms();
    printf("%s %lld %.3f ms\n", name, result, now - *since);
    *since = now_ms();
}

// Begins a transaction at the first row of each, after ending the one before.
static void divide(long row, long rows, long transactions) {
    long each = (rows + transactions - 1) / transactions;
    if (row % each == 0) run(row ? "COMMIT; BEGIN" : "BEGIN");
}

static void insert(long rows, long transactions) {
    sqlite3_stmt *statement = prepare("INSERT INTO item(name, score, note) VALUES (?1, ?2, ?3)");
    unsigned long long state = 1;
    char name[32];
    for (long row = 0; row < rows; row++) {
        divide(row, rows, transactions);
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        snprintf(name, sizeof name, "item %llu", state >> 40);
        need(sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC));
        need(sqlite3_bind_int64(statement, 2, (long long)(state >> 50)));
        need(sqlite3_bind_text(statement, 3, "a note that is the same for every row", -1, SQLITE_STATIC));
        need(sqlite3_step(statement));
        need(sqlite3_reset(statement));
    }
    run("COMMIT");
    need(sqlite3_finalize(statement));
}

static long long lookups(long rows, long transactions) {
    sqlite3_stmt *statement = prepare("SELECT score FROM item WHERE id = ?1");
    long long sum = 0;
    for (long i = 0; i < rows; i++) {
        divide(i, rows, transactions);
        need(sqlite3_bind_int64(statement, 1, (long long)(i * 7919LL % rows + 1)));
        sum += number(statement);
    }
    run("COMMIT");
    need(sqlite3_finalize(statement));
    return sum;
}

static long long ranges(void) {
    sqlite3_stmt *statement = prepare("SELECT count(*) FROM item WHERE score BETWEEN ?1 AND ?1 + 99");
    long long sum = 0;
    for (int low = 0; low < 16384; low += 100) {
        need(sqlite3_bind_int64(statement, 1, low));
        sum += number(statement);
    }
    need(sqlite3_finalize(statement));
    return sum;
}

static long long once(const char *sql) {
    sqlite3_stmt *statement = prepare(sql);
    long long result = number(statement);
    need(sqlite3_finalize(statement));
    return result;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "", *path = ":memory:";
    long rows = 200000, transactions = 100;
    int sizes = 2;
    if (strcmp(mode, "file") == 0 && argc > 2) {
        path = argv[2], rows = 50000, transactions = 500, sizes = 3;
        unlink(path);
    } else if (strcmp(mode, "memory") != 0) {
        fputs("usage: sqlite-bench memory [ROWS] [TRANSACTIONS] | file PATH [ROWS] [TRANSACTIONS]\n", stderr);
        return 2;
    }
    if (argc > sizes) rows = atol(argv[sizes]);
    if (argc > sizes + 1) transactions = atol(argv[sizes + 1]);
    if (rows < 1 || transactions < 1) {
        fputs("sqlite-bench: ROWS and TRANSACTIONS are 1 or more\n", stderr);
        return 2;
    }

    double since = now_ms();
    need(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix-dotfile"));
    run("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, score INTEGER, note TEXT);"
        "CREATE INDEX item_score ON item(score)");
    phase("create", 0, &since);
    insert(rows, transactions);
    phase("insert", rows, &since);
    phase("lookup", lookups(rows, transactions), &since);
    phase("range", ranges(), &since);
    phase("group", once("SELECT sum(n) FROM (SELECT count(*) AS n FROM item GROUP BY name ORDER BY name)"), &since);
    phase("like", once("SELECT count(*) FROM item WHERE name LIKE '%99%'"), &since);
    run("UPDATE item SET score = score + 1 WHERE id % 3 = 0");
    phase("update", sqlite3_changes(db), &since);
    run("DELETE FROM item WHERE id % 2 = 0");
    phase("delete", sqlite3_changes(db), &since);
    need(sqlite3_close(db));
    if (strcmp(mode, "file") == 0) unlink(path);
    return 0;
}
