mod crash;

use poolqueue_core::BackendErrorKind;
use poolqueue_migrations::Migration;
use rusqlite::Connection;

use super::{Owner, migrate, owner};
use crate::site::Site;
use crate::sql::Sql;

const FIRST: Migration = poolqueue_migrations::SQLITE[0];
const SECOND: Migration = Migration {
    version: 2,
    name: "more",
    sql: "ALTER TABLE {prefix}jobs ADD COLUMN more TEXT; CREATE TABLE {prefix}more (a)",
};
const BROKEN: Migration = Migration {
    version: 2,
    name: "broken",
    sql: "CREATE TABLE {prefix}half (a); CREATE TABLE {prefix}half (a)",
};

fn tables(conn: &Connection) -> Vec<String> {
    let mut found =
        conn.prepare("SELECT name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
    let rows = found.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn steps_run_once_each_and_a_failed_one_leaves_the_version_before_it() {
    let (site, sql) = (Site::new("x".into()), Sql::new("p_"));
    let mut conn = Connection::open_in_memory().unwrap();
    let version = |conn: &Connection, steps: &[Migration]| owner(conn, steps, &sql, &site);
    assert_eq!(version(&conn, &[FIRST]).unwrap(), Owner::Foreign);
    let error = migrate(&mut conn, &[FIRST, BROKEN], &sql, &site).unwrap_err();
    assert!(error.to_string().contains("half"), "{error}");
    assert_eq!(version(&conn, &[FIRST]).unwrap(), Owner::Ours(1));
    assert!(!tables(&conn).contains(&"p_half".to_owned()));
    migrate(&mut conn, &[FIRST, SECOND], &sql, &site).unwrap();
    assert_eq!(version(&conn, &[FIRST, SECOND]).unwrap(), Owner::Ours(2));
    assert!(tables(&conn).contains(&"p_more".to_owned()));
    let newer = version(&conn, &[FIRST]).unwrap_err();
    assert_eq!(newer.kind(), BackendErrorKind::NewerFormat);
    let before = tables(&conn);
    migrate(&mut conn, &[FIRST, SECOND], &sql, &site).unwrap();
    assert_eq!(tables(&conn), before);
}
