BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE analyses (
	id TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	title TEXT, 
	parameters JSON NOT NULL, 
	inputs JSON NOT NULL, 
	state TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	attempts INTEGER NOT NULL, 
	lease_owner TEXT, 
	lease_token TEXT, 
	lease_until FLOAT, 
	published_at FLOAT, 
	result JSON, 
	error_code TEXT, 
	error_message TEXT, 
	CONSTRAINT pk_analyses PRIMARY KEY (id), 
	CONSTRAINT ck_analyses_kind CHECK (kind IN ('causal_test', 'bed_concept')), 
	CONSTRAINT ck_analyses_state CHECK (state IN ('QUEUED', 'INITIALIZING', 'RUNNING', 'COMPLETE', 'EXECUTOR_ERROR', 'SYSTEM_ERROR', 'CANCELED')), 
	CONSTRAINT fk_analyses_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE TABLE computations (
	id TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	state TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	error_code TEXT, 
	error_message TEXT, 
	dictionary_id TEXT NOT NULL, 
	parameters JSON NOT NULL, 
	lengths JSON NOT NULL, 
	bases BIGINT NOT NULL, 
	inputs JSON NOT NULL, 
	results JSON, 
	CONSTRAINT pk_computations PRIMARY KEY (id), 
	CONSTRAINT ck_computations_state CHECK (state IN ('QUEUED', 'INITIALIZING', 'RUNNING', 'COMPLETE', 'EXECUTOR_ERROR', 'SYSTEM_ERROR', 'CANCELED'))
);
INSERT INTO "computations" VALUES('4666c63fb572834be150a59fd93740d7','59139677a56d2ce26a9c840efe5eb35308f5fa622b80e79527f26fecde81f33a','local','COMPLETE',1.79525436936401724813e+09,1.79525436938501882552e+09,1.79525436975399708744e+09,NULL,NULL,'toy-sae','{"result_schema": 2, "sequences": ["SQ.XjXRtFrH2lYMjmjU_wqAN8ZjWZ8xStSs", "SQ.uQdvjMTbuDIP2al-20bfYrYdpvuKaNpu"], "genes": null, "dictionary": {"id": "toy-sae", "sha256": "2222222222222222222222222222222222222222222222222222222222222222", "model_sha256": "1111111111111111111111111111111111111111111111111111111111111111", "layer": 1, "d_sae": 4, "gate": "jumprelu", "k": 1, "stride": 8, "context": 8, "dtype": "float32", "config_sha256": null}, "motifs": null, "atlas": null, "options": {"dictionary": "toy-sae", "strands": "both", "taxon": "fungi", "release": "JASPAR2026", "motif_p": 0.0001, "peaks_per_feature": 100, "seed": 0, "held_out": []}, "software": {"pyjaspar": "4.0.0", "memelite": "0.5.0"}}','[20, 10]',30,'{"sequences.fa": {"key": "computations/4666c63fb572834be150a59fd93740d7/input/sequences.fa", "bytes": 38, "sha256": "3ea18396af637cd5ab8a50b861be9e4cbcd65542336c5fd38d2fa45d1cbfacf7"}}','{"activations.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/activations.parquet", "bytes": 1558, "sha256": "700aab2c40b7e5ede90be2fd2d429c9b6e94115e27cc34c6053ae629390e85df"}, "concepts.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/concepts.parquet", "bytes": 7844, "sha256": "214abd5e6f6eacf875d6f6ee58bff4aab77e86673910f6592b957f8c4b1fa269"}, "features.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/features.parquet", "bytes": 6434, "sha256": "37e6ba878db8b224a380fd867073ebefc4e0e9023ba0c72774c7d1fe62ecc5ba"}, "matches.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/matches.parquet", "bytes": 9543, "sha256": "25af8d943ceeae75006ae45233ea18518f1844303c229fbd52bb2055587500e3"}, "peaks.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/peaks.parquet", "bytes": 2825, "sha256": "c8c7e2cc60632d2c157ac0535f116de6007c566e5c9e0f4ca029b2e4819b9828"}, "provenance.json": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/provenance.json", "bytes": 183, "sha256": "861162c939e7310ed72dab4d3190c44850e80cfbb0424e05a28f90d5adf26a1e"}}');
INSERT INTO "computations" VALUES('aaeb5f93d767ddca09a6bb57606c1b4e','0861f25c1c3af1ce4a2a534cb5a413627ab15ee54e0317521f53bec276890b91','local','QUEUED',1.79525436977499866487e+09,NULL,NULL,NULL,NULL,'toy-sae','{"result_schema": 2, "sequences": ["SQ.H0qfKV1lSSyZ-6cTWok_Lz09wSKcY3yk"], "genes": null, "dictionary": {"id": "toy-sae", "sha256": "2222222222222222222222222222222222222222222222222222222222222222", "model_sha256": "1111111111111111111111111111111111111111111111111111111111111111", "layer": 1, "d_sae": 4, "gate": "jumprelu", "k": 1, "stride": 8, "context": 8, "dtype": "float32", "config_sha256": null}, "motifs": null, "atlas": null, "options": {"dictionary": "toy-sae", "strands": "both", "taxon": "fungi", "release": "JASPAR2026", "motif_p": 0.0001, "peaks_per_feature": 100, "seed": 0, "held_out": []}, "software": {"pyjaspar": "4.0.0", "memelite": "0.5.0"}}','[11]',11,'{"sequences.fa": {"key": "computations/aaeb5f93d767ddca09a6bb57606c1b4e/input/sequences.fa", "bytes": 15, "sha256": "eeee456a8194eac664e351a583b71bf8bd49d3cee52b3030b3953dd9c45ba4f1"}}',NULL);
CREATE TABLE runs (
	id TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	title TEXT, 
	filename TEXT, 
	created_at FLOAT NOT NULL, 
	canceled_at FLOAT, 
	computation_id TEXT NOT NULL, 
	contig_names JSON NOT NULL, 
	options JSON NOT NULL, annotation_skipped JSON, 
	CONSTRAINT pk_runs PRIMARY KEY (id), 
	CONSTRAINT fk_runs_computation_id_computations FOREIGN KEY(computation_id) REFERENCES computations (id)
);
INSERT INTO "runs" VALUES('f36bf232020436ff3541b109','local',NULL,NULL,1.79525436936800026894e+09,NULL,'4666c63fb572834be150a59fd93740d7','["chrA", "chrB"]','{"dictionary": "toy-sae", "strands": "both", "taxon": "fungi", "release": "JASPAR2026", "motif_p": 0.0001, "peaks_per_feature": 100, "seed": 0, "held_out": []}','null');
INSERT INTO "runs" VALUES('e7f4de992803512916c2b19d','local',NULL,NULL,1.79525436977701044081e+09,NULL,'aaeb5f93d767ddca09a6bb57606c1b4e','["late"]','{"dictionary": "toy-sae", "strands": "both", "taxon": "fungi", "release": "JASPAR2026", "motif_p": 0.0001, "peaks_per_feature": 100, "seed": 0, "held_out": []}','null');
CREATE TABLE shards (
	id INTEGER NOT NULL, 
	computation_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	spans JSON NOT NULL, 
	bases BIGINT NOT NULL, 
	bases_done BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	lease_owner TEXT, 
	lease_token TEXT, 
	lease_until FLOAT, 
	published_at FLOAT, 
	results JSON, 
	error TEXT, 
	CONSTRAINT pk_shards PRIMARY KEY (id), 
	CONSTRAINT ck_shards_kind CHECK (kind IN ('encode', 'merge')), 
	CONSTRAINT ck_shards_state CHECK (state IN ('QUEUED', 'RUNNING', 'COMPLETE', 'FAILED', 'CANCELED')), 
	CONSTRAINT fk_shards_computation_id_computations FOREIGN KEY(computation_id) REFERENCES computations (id) ON DELETE CASCADE
);
INSERT INTO "shards" VALUES(1,'4666c63fb572834be150a59fd93740d7','encode',0,'[[0, 0, 20], [1, 0, 10]]',30,30,'COMPLETE',1,NULL,NULL,NULL,NULL,'{}',NULL);
INSERT INTO "shards" VALUES(2,'4666c63fb572834be150a59fd93740d7','merge',1,'[]',30,30,'COMPLETE',1,NULL,NULL,NULL,NULL,'{"activations.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/activations.parquet", "bytes": 1558, "sha256": "700aab2c40b7e5ede90be2fd2d429c9b6e94115e27cc34c6053ae629390e85df"}, "concepts.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/concepts.parquet", "bytes": 7844, "sha256": "214abd5e6f6eacf875d6f6ee58bff4aab77e86673910f6592b957f8c4b1fa269"}, "features.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/features.parquet", "bytes": 6434, "sha256": "37e6ba878db8b224a380fd867073ebefc4e0e9023ba0c72774c7d1fe62ecc5ba"}, "matches.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/matches.parquet", "bytes": 9543, "sha256": "25af8d943ceeae75006ae45233ea18518f1844303c229fbd52bb2055587500e3"}, "peaks.parquet": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/peaks.parquet", "bytes": 2825, "sha256": "c8c7e2cc60632d2c157ac0535f116de6007c566e5c9e0f4ca029b2e4819b9828"}, "provenance.json": {"key": "computations/4666c63fb572834be150a59fd93740d7/result/1-0d6a92eba430a2b4/provenance.json", "bytes": 183, "sha256": "861162c939e7310ed72dab4d3190c44850e80cfbb0424e05a28f90d5adf26a1e"}}',NULL);
INSERT INTO "shards" VALUES(3,'aaeb5f93d767ddca09a6bb57606c1b4e','encode',0,'[[0, 0, 11]]',11,0,'QUEUED',0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "shards" VALUES(4,'aaeb5f93d767ddca09a6bb57606c1b4e','merge',1,'[]',11,0,'QUEUED',0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE share_links (
	id TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	token_sha256 TEXT NOT NULL, 
	title TEXT, 
	created_at FLOAT NOT NULL, 
	CONSTRAINT pk_share_links PRIMARY KEY (id), 
	CONSTRAINT fk_share_links_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
INSERT INTO "share_links" VALUES('8421b58956d15f72','f36bf232020436ff3541b109','local','f94fe2fcf1275562c4fcbfcaa6e582abae3f00a875273ac82247aac77baf2e6c','for the paper',1.79525436979499459265e+09);
CREATE TABLE workers (
	id TEXT NOT NULL, 
	queue TEXT NOT NULL, 
	seen_at FLOAT NOT NULL, 
	models JSON NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_computations_digest_scope ON computations (digest, scope);
CREATE INDEX ix_runs_computation_id ON runs (computation_id);
CREATE INDEX ix_runs_owner_created_at ON runs (owner, created_at, id);
CREATE INDEX ix_shards_state ON shards (state, published_at);
CREATE UNIQUE INDEX uq_shards_computation_id_position ON shards (computation_id, position);
CREATE INDEX ix_analyses_run_id_created_at ON analyses (run_id, created_at, id);
CREATE INDEX ix_analyses_state ON analyses (state, published_at);
CREATE INDEX ix_share_links_run_id ON share_links (run_id);
CREATE UNIQUE INDEX uq_share_links_token_sha256 ON share_links (token_sha256);
COMMIT;
