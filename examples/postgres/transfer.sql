-- pgbench's own transaction (TPC-B-like) with two differences: some accounts are much busier than others, so that
-- there is something to see in a list of the largest, and the history says when it was written, so that the page can
-- tell how long that took to reach it.
\set accounts 100000 * :scale
\set aid permute(random_zipfian(1, :accounts, 1.05) - 1, :accounts) + 1
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, clock_timestamp());
END;
