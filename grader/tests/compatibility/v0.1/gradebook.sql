BEGIN TRANSACTION;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
INSERT INTO "alembic_version" VALUES('e43177bfe90b');
CREATE TABLE assignment (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	duedate DATETIME, 
	course_id VARCHAR(128) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name), 
	FOREIGN KEY(course_id) REFERENCES course (id)
);
INSERT INTO "assignment" VALUES('8e2e81302d814aeeaba5d2f97a7bf445','lab3-checks',NULL,'vmm');
CREATE TABLE base_cell (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	notebook_id VARCHAR(32) NOT NULL, 
	type VARCHAR(50), 
	PRIMARY KEY (id), 
	UNIQUE (name, notebook_id, type), 
	FOREIGN KEY(notebook_id) REFERENCES notebook (id)
);
INSERT INTO "base_cell" VALUES('a98c0215365e463dbe1223f319163f44','lab3-jump-present','bf924bda934c4cb1a23d935ee7e0cd27','GradeCell');
INSERT INTO "base_cell" VALUES('ef03db95bd1f4558915d5b7748f5bc8e','lab3-jump-present','bf924bda934c4cb1a23d935ee7e0cd27','SolutionCell');
INSERT INTO "base_cell" VALUES('90d3450a45be4fa38ddf3e8d99fc53cb','lab3-jump-target','bf924bda934c4cb1a23d935ee7e0cd27','GradeCell');
INSERT INTO "base_cell" VALUES('c44057f589b943d58e4e41e30dc9a91e','lab3-jump-target','bf924bda934c4cb1a23d935ee7e0cd27','SolutionCell');
INSERT INTO "base_cell" VALUES('079c2d7dda3f4ff8850cf26186251e65','lab3-ladder-long','bf924bda934c4cb1a23d935ee7e0cd27','GradeCell');
INSERT INTO "base_cell" VALUES('9f4d1352cc0149189ad2ea346d63f822','lab3-ladder-long','bf924bda934c4cb1a23d935ee7e0cd27','SolutionCell');
INSERT INTO "base_cell" VALUES('a1252b3e49f24c9e92315df10c0e78d2','lab3-hidden','bf924bda934c4cb1a23d935ee7e0cd27','GradeCell');
INSERT INTO "base_cell" VALUES('b3474f43da79473cb18f77753388e2f4','lab3-hidden','bf924bda934c4cb1a23d935ee7e0cd27','SolutionCell');
CREATE TABLE comment (
	id VARCHAR(32) NOT NULL, 
	notebook_id VARCHAR(32), 
	cell_id VARCHAR(32), 
	auto_comment TEXT, 
	manual_comment TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (cell_id, notebook_id), 
	FOREIGN KEY(notebook_id) REFERENCES submitted_notebook (id), 
	FOREIGN KEY(cell_id) REFERENCES base_cell (id)
);
INSERT INTO "comment" VALUES('36f0e75e0f0146c5ad129d00394ac3c0','7df96883f9fd47798295a101180d7dd7','ef03db95bd1f4558915d5b7748f5bc8e',NULL,NULL);
INSERT INTO "comment" VALUES('6c851646b2754d218bee53f812b38f93','7df96883f9fd47798295a101180d7dd7','c44057f589b943d58e4e41e30dc9a91e','far-jump-wrong-target: The segment is an address divided by 16. Hint: Work it out by hand: segment * 16 + offset.',NULL);
INSERT INTO "comment" VALUES('a33161f97fd94b56825dfb0a452d156c','7df96883f9fd47798295a101180d7dd7','9f4d1352cc0149189ad2ea346d63f822',NULL,NULL);
INSERT INTO "comment" VALUES('602b21ed4c5a4c69bd9cd799cd483232','7df96883f9fd47798295a101180d7dd7','b3474f43da79473cb18f77753388e2f4',NULL,NULL);
INSERT INTO "comment" VALUES('846cd61fa0bc4cd18e65fdcb1ddeab81','6a6de7f9e4f14c2397b9f84c59aca5d4','ef03db95bd1f4558915d5b7748f5bc8e',NULL,NULL);
INSERT INTO "comment" VALUES('9bb0ed3438e143289c23b15af5afdfa9','6a6de7f9e4f14c2397b9f84c59aca5d4','c44057f589b943d58e4e41e30dc9a91e',NULL,NULL);
INSERT INTO "comment" VALUES('64368d0460ac4599b3fa14b19a0897d5','6a6de7f9e4f14c2397b9f84c59aca5d4','9f4d1352cc0149189ad2ea346d63f822',NULL,NULL);
INSERT INTO "comment" VALUES('8d58190c430341648ae8463478aed8c1','6a6de7f9e4f14c2397b9f84c59aca5d4','b3474f43da79473cb18f77753388e2f4',NULL,NULL);
CREATE TABLE course (
	id VARCHAR(128) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (id)
);
INSERT INTO "course" VALUES('vmm');
CREATE TABLE grade (
	id VARCHAR(32) NOT NULL, 
	notebook_id VARCHAR(32), 
	cell_id VARCHAR(32), 
	auto_score FLOAT, 
	manual_score FLOAT, 
	extra_credit FLOAT, 
	needs_manual_grade BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (cell_id, notebook_id), 
	FOREIGN KEY(notebook_id) REFERENCES submitted_notebook (id), 
	FOREIGN KEY(cell_id) REFERENCES base_cell (id)
);
INSERT INTO "grade" VALUES('48427360c9e14a16ae1b7ad23ea20cff','7df96883f9fd47798295a101180d7dd7','a98c0215365e463dbe1223f319163f44',2.0,NULL,NULL,0);
INSERT INTO "grade" VALUES('261aeb690f4e4d0fb61d89244687544c','7df96883f9fd47798295a101180d7dd7','90d3450a45be4fa38ddf3e8d99fc53cb',0.0,NULL,NULL,0);
INSERT INTO "grade" VALUES('cd974d91588a41f7bbe4a4d8d0b9af4d','7df96883f9fd47798295a101180d7dd7','079c2d7dda3f4ff8850cf26186251e65',5.0,NULL,NULL,0);
INSERT INTO "grade" VALUES('7aa801a24b1749abbd3091cd6546d54d','7df96883f9fd47798295a101180d7dd7','a1252b3e49f24c9e92315df10c0e78d2',4.0,NULL,NULL,0);
INSERT INTO "grade" VALUES('d8c1cea64e2242948aeece4a6b097996','6a6de7f9e4f14c2397b9f84c59aca5d4','a98c0215365e463dbe1223f319163f44',2.0,NULL,NULL,0);
INSERT INTO "grade" VALUES('2393d487035841f984d887ab39ab08f3','6a6de7f9e4f14c2397b9f84c59aca5d4','90d3450a45be4fa38ddf3e8d99fc53cb',3.0,NULL,NULL,0);
INSERT INTO "grade" VALUES('477c8995355e45be9cee5be7e8ef4637','6a6de7f9e4f14c2397b9f84c59aca5d4','079c2d7dda3f4ff8850cf26186251e65',5.0,NULL,NULL,0);
INSERT INTO "grade" VALUES('90f38a95457b4b568d3946611e637d3b','6a6de7f9e4f14c2397b9f84c59aca5d4','a1252b3e49f24c9e92315df10c0e78d2',4.0,NULL,NULL,0);
CREATE TABLE grade_cells (
	id VARCHAR(32) NOT NULL, 
	max_score FLOAT NOT NULL, 
	cell_type VARCHAR(8) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(id) REFERENCES base_cell (id)
);
INSERT INTO "grade_cells" VALUES('a98c0215365e463dbe1223f319163f44',2.0,'code');
INSERT INTO "grade_cells" VALUES('90d3450a45be4fa38ddf3e8d99fc53cb',3.0,'code');
INSERT INTO "grade_cells" VALUES('079c2d7dda3f4ff8850cf26186251e65',5.0,'code');
INSERT INTO "grade_cells" VALUES('a1252b3e49f24c9e92315df10c0e78d2',4.0,'code');
CREATE TABLE notebook (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	assignment_id VARCHAR(32), 
	kernelspec VARCHAR(1024), 
	PRIMARY KEY (id), 
	UNIQUE (name, assignment_id), 
	FOREIGN KEY(assignment_id) REFERENCES assignment (id)
);
INSERT INTO "notebook" VALUES('bf924bda934c4cb1a23d935ee7e0cd27','lab3','8e2e81302d814aeeaba5d2f97a7bf445',NULL);
CREATE TABLE solution_cells (
	id VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(id) REFERENCES base_cell (id)
);
INSERT INTO "solution_cells" VALUES('ef03db95bd1f4558915d5b7748f5bc8e');
INSERT INTO "solution_cells" VALUES('c44057f589b943d58e4e41e30dc9a91e');
INSERT INTO "solution_cells" VALUES('9f4d1352cc0149189ad2ea346d63f822');
INSERT INTO "solution_cells" VALUES('b3474f43da79473cb18f77753388e2f4');
CREATE TABLE source_cell (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	cell_type VARCHAR(8) NOT NULL, 
	locked BOOLEAN NOT NULL, 
	source TEXT, 
	checksum VARCHAR(128), 
	notebook_id VARCHAR(32), 
	PRIMARY KEY (id), 
	UNIQUE (name, notebook_id), 
	FOREIGN KEY(notebook_id) REFERENCES notebook (id)
);
CREATE TABLE student (
	id VARCHAR(128) NOT NULL, 
	first_name VARCHAR(128), 
	last_name VARCHAR(128), 
	email VARCHAR(128), 
	lms_user_id VARCHAR(128), 
	PRIMARY KEY (id)
);
INSERT INTO "student" VALUES('alice',NULL,NULL,NULL,NULL);
INSERT INTO "student" VALUES('bob',NULL,NULL,NULL,NULL);
CREATE TABLE submitted_assignment (
	id VARCHAR(32) NOT NULL, 
	assignment_id VARCHAR(32), 
	student_id VARCHAR(128), 
	timestamp DATETIME, 
	extension DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (assignment_id, student_id), 
	FOREIGN KEY(assignment_id) REFERENCES assignment (id), 
	FOREIGN KEY(student_id) REFERENCES student (id)
);
INSERT INTO "submitted_assignment" VALUES('27e4b20a3b804aee8b95161c0e3f580e','8e2e81302d814aeeaba5d2f97a7bf445','alice',NULL,NULL);
INSERT INTO "submitted_assignment" VALUES('64dcb4dda2674406a34c3dfbd169651f','8e2e81302d814aeeaba5d2f97a7bf445','bob',NULL,NULL);
CREATE TABLE submitted_notebook (
	id VARCHAR(32) NOT NULL, 
	assignment_id VARCHAR(32), 
	notebook_id VARCHAR(32), 
	flagged BOOLEAN, 
	late_submission_penalty FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (notebook_id, assignment_id), 
	FOREIGN KEY(assignment_id) REFERENCES submitted_assignment (id), 
	FOREIGN KEY(notebook_id) REFERENCES notebook (id)
);
INSERT INTO "submitted_notebook" VALUES('7df96883f9fd47798295a101180d7dd7','27e4b20a3b804aee8b95161c0e3f580e','bf924bda934c4cb1a23d935ee7e0cd27',0,NULL);
INSERT INTO "submitted_notebook" VALUES('6a6de7f9e4f14c2397b9f84c59aca5d4','64dcb4dda2674406a34c3dfbd169651f','bf924bda934c4cb1a23d935ee7e0cd27',0,NULL);
CREATE TABLE task_cells (
	id VARCHAR(32) NOT NULL, 
	max_score FLOAT NOT NULL, 
	cell_type VARCHAR(8) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(id) REFERENCES base_cell (id)
);
COMMIT;
