BEGIN TRANSACTION;
CREATE TABLE accounts (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "accounts" VALUES('acct_0mx0gsi6l655udel0c4z','alpha','2026-11-28 13:47:10.989459');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0007');
CREATE TABLE api_keys (
	id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	key_sha256 VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, 
	revoked_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id), 
	UNIQUE (key_sha256)
);
INSERT INTO "api_keys" VALUES('key_0mx0gsi6n25gj3ouzw21','acct_0mx0gsi6l655udel0c4z','','51ee2ff384c8d533f6dad7e0bab87085609f2ad48a0ab5f91d31d927ff1cdd56','2026-11-28 13:47:10.992005',NULL);
CREATE TABLE "batches" (
	id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	request_id VARCHAR, 
	request_digest VARCHAR NOT NULL, 
	input_file_id VARCHAR NOT NULL, 
	endpoint VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	stop VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	details JSON NOT NULL, 
	window_seconds FLOAT NOT NULL, 
	skip_invalid_lines BOOLEAN NOT NULL, 
	total BIGINT NOT NULL, 
	invalid BIGINT NOT NULL, 
	succeeded BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	queued BIGINT NOT NULL, 
	submitted BIGINT NOT NULL, 
	processed BIGINT NOT NULL, 
	retrying BIGINT NOT NULL, 
	finished_peak BIGINT NOT NULL, 
	input_tokens BIGINT NOT NULL, 
	cached_input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	reasoning_tokens BIGINT NOT NULL, 
	errors JSON NOT NULL, 
	shard_count INTEGER NOT NULL, 
	results_prefix VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, 
	in_progress_at DATETIME, 
	finalizing_at DATETIME, 
	completed_at DATETIME, 
	failed_at DATETIME, 
	expired_at DATETIME, 
	cancelling_at DATETIME, 
	cancelled_at DATETIME, 
	expires_at DATETIME NOT NULL, 
	stopping_at DATETIME, 
	due_at DATETIME NOT NULL, 
	lenient_translation BOOLEAN DEFAULT 0 NOT NULL, traceparent VARCHAR DEFAULT '' NOT NULL, waiting_reason VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (account_id, request_id)
);
INSERT INTO "batches" VALUES('batch_0mx0gsi73hklkzkzvqzx','acct_a',NULL,'d','file_0mx0gsi6rh133zre4vxg','/v1/chat/completions','in_progress','',5,'{}',86400.0,0,10,0,0,0,4,6,0,0,0,0,0,0,0,'[]',2,'','2026-11-28 13:47:11.007503','2026-11-28 13:47:11.027386',NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-29 13:47:11.007503',NULL,'2026-11-29 13:47:11.007503',0,'','');
CREATE TABLE files (
	id VARCHAR NOT NULL, 
	account_id VARCHAR NOT NULL, 
	upload_id VARCHAR NOT NULL, 
	filename VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	bytes BIGINT NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	line_count BIGINT NOT NULL, 
	invalid_line_count BIGINT NOT NULL, 
	problem_count BIGINT NOT NULL, 
	endpoint VARCHAR NOT NULL, 
	groups JSON NOT NULL, 
	created_at DATETIME NOT NULL, lenient_line_count BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (account_id, upload_id)
);
INSERT INTO "files" VALUES('file_0mx0gsi6rh133zre4vxg','acct_a','upload-1','','ready',0,'',10,0,0,'','[]','2026-11-28 13:47:10.995795',0);
CREATE TABLE "shards" (
	id VARCHAR NOT NULL, 
	batch_id VARCHAR NOT NULL, 
	ordinal INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	provider VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	endpoint VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	line_count BIGINT NOT NULL, 
	byte_count BIGINT NOT NULL, 
	token VARCHAR NOT NULL, 
	attempts INTEGER NOT NULL, 
	intended_at DATETIME, 
	quiet_at DATETIME, 
	sent_bytes BIGINT NOT NULL, 
	sent_lines BIGINT NOT NULL, 
	sent_sha256 VARCHAR NOT NULL, 
	rejects_prefix VARCHAR NOT NULL, 
	remote_id VARCHAR NOT NULL, 
	remote_file_id VARCHAR NOT NULL, 
	remote_status VARCHAR NOT NULL, 
	remote_model VARCHAR NOT NULL, 
	waiting_reason VARCHAR NOT NULL, 
	finished BIGINT NOT NULL, 
	succeeded BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	retried BIGINT NOT NULL, 
	input_tokens BIGINT NOT NULL, 
	cached_input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	reasoning_tokens BIGINT NOT NULL, 
	results_prefix VARCHAR NOT NULL, 
	fill_code VARCHAR NOT NULL, 
	fill_message VARCHAR NOT NULL, 
	refetches INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	submitted_at DATETIME, 
	ended_at DATETIME, 
	settled_at DATETIME, 
	due_at DATETIME NOT NULL, 
	account_id VARCHAR DEFAULT '' NOT NULL, 
	tokens BIGINT DEFAULT '0' NOT NULL, 
	token_refusals INTEGER DEFAULT '0' NOT NULL, 
	waits_for_room BOOLEAN DEFAULT 0 NOT NULL, sending_at DATETIME, credential VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(batch_id) REFERENCES batches (id), 
	UNIQUE (batch_id, ordinal)
);
INSERT INTO "shards" VALUES('shard_0mx0gsi7edg3u4rnpuwf','batch_0mx0gsi73hklkzkzvqzx',0,0,'openai','openai/gpt-4.1','/v1/chat/completions','submitted',6,0,'t1',1,'2026-11-28 13:47:11.055016',NULL,100,6,'00','','batch_remote','file-remote','','gpt-4.1','',0,0,0,0,0,0,0,0,'','','',0,'2026-11-28 13:47:11.018423','2026-11-28 13:47:11.077469',NULL,NULL,'2026-11-28 13:47:11.077455','',0,0,0,NULL,'');
INSERT INTO "shards" VALUES('shard_0mx0gsi7fjo9arqnr1yc','batch_0mx0gsi73hklkzkzvqzx',1,0,'openai','openai/gpt-4.1','/v1/chat/completions','submitting',4,0,'t1',1,'2026-11-28 13:47:11.090273',NULL,100,4,'00','','','','','gpt-4.1','',0,0,0,0,0,0,0,0,'','','',0,'2026-11-28 13:47:11.019073',NULL,NULL,NULL,'2026-11-28 13:52:11.090273','',0,0,0,NULL,'');
CREATE TABLE token_budgets (
	provider VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	limit_tokens BIGINT, 
	stated BOOLEAN NOT NULL, 
	learned_at DATETIME, 
	bytes_per_token FLOAT NOT NULL, 
	PRIMARY KEY (provider, model)
);
CREATE TABLE uploads (
	account_id VARCHAR NOT NULL, 
	upload_id VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, bytes BIGINT DEFAULT '0' NOT NULL, open_until DATETIME, 
	PRIMARY KEY (account_id, upload_id)
);
CREATE INDEX ix_files_account_id ON files (account_id);
CREATE INDEX ix_files_created_at ON files (created_at);
CREATE INDEX ix_uploads_created_at ON uploads (created_at);
CREATE INDEX ix_api_keys_account_id ON api_keys (account_id);
CREATE INDEX ix_shards_state ON shards (state);
CREATE INDEX ix_shards_batch_id ON shards (batch_id);
CREATE INDEX ix_shards_remote_id ON shards (remote_id);
CREATE INDEX ix_shards_due_at ON shards (due_at);
CREATE INDEX ix_batches_input_file_id ON batches (input_file_id);
CREATE INDEX ix_batches_account_id ON batches (account_id);
CREATE INDEX ix_batches_due_at ON batches (due_at);
CREATE INDEX ix_batches_created_at ON batches (created_at);
CREATE INDEX ix_batches_state ON batches (state);
CREATE INDEX ix_batches_account_state ON batches (account_id, state);
CREATE INDEX ix_files_account_bytes ON files (account_id, bytes);
COMMIT;
