-- What the job library's tables need, once the library has made them: the worker uses them, nobody else.

grant usage on schema jobs to waystation_worker;
grant select, insert, update, delete on all tables in schema jobs to waystation_worker;
grant usage on all sequences in schema jobs to waystation_worker;
