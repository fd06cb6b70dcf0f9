DROP TABLE IF EXISTS `releves`;
CREATE TABLE `releves` (
  `compteur` varchar(14) NOT NULL,
  `horodate` datetime NOT NULL,
  `grandeur` varchar(4) NOT NULL,
  `valeur` decimal(12,3) DEFAULT NULL,
  PRIMARY KEY (`compteur`,`horodate`,`grandeur`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO `releves` VALUES
('30000000000001','2024-01-01 00:00:00','EA',1204.500),
('30000000000001','2024-01-01 00:30:00','EA',1206.250),
('30000000000002','2024-01-01 00:00:00','EA',88.000),
('30000000000002','2024-01-01 00:30:00','EA',NULL);
