INSERT INTO `releves` (`compteur`,`horodate`,`grandeur`,`valeur`) VALUES
('30000000000002','2024-01-01 00:30:00','EA',88.750),
('30000000000001','2024-01-01 01:00:00','EA',1208.125);
