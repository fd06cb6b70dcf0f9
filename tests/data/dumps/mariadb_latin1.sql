/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: campus
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES latin1 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Table structure for table `kinds`
--

DROP TABLE IF EXISTS `kinds`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `kinds` (
  `id` int(10) unsigned NOT NULL AUTO_INCREMENT COMMENT 'it''s a key, (really); "so"',
  `small` tinyint(4) DEFAULT NULL,
  `flag` tinyint(1) DEFAULT NULL,
  `bits` bit(5) DEFAULT NULL,
  `one` bit(1) DEFAULT NULL,
  `big` bigint(20) unsigned DEFAULT NULL,
  `amount` decimal(20,6) DEFAULT 0.000000,
  `ratio` double DEFAULT NULL,
  `real4` float DEFAULT NULL,
  `day` date DEFAULT NULL,
  `moment` datetime(6) DEFAULT NULL,
  `stamp` timestamp NULL DEFAULT NULL,
  `clock` time(3) DEFAULT NULL,
  `y` year(4) DEFAULT NULL,
  `name` varchar(200) DEFAULT NULL,
  `note` longtext DEFAULT NULL,
  `kind` enum('a','b,c','d''e') DEFAULT NULL,
  `many` set('x','y') DEFAULT NULL,
  `raw` blob DEFAULT NULL,
  `fixed` binary(4) DEFAULT NULL,
  `doc` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`doc`)),
  `where` point DEFAULT NULL,
  `twice` int(11) GENERATED ALWAYS AS (`small` * 2) VIRTUAL,
  PRIMARY KEY (`id`),
  KEY `name_key` (`name`(20))
) ENGINE=InnoDB AUTO_INCREMENT=4 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci COMMENT='all kinds; (one each)';
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `kinds`
--
-- WHERE:  id<3

LOCK TABLES `kinds` WRITE;
/*!40000 ALTER TABLE `kinds` DISABLE KEYS */;
INSERT INTO `kinds` VALUES
(1,-128,1,'','',18446744073709551615,-12345678901234.567891,1.7976931348623157e308,3.25,'2024-02-29','2024-02-29 23:59:59.123456','2024-03-31 01:30:00','23:59:59.500',2024,'O\'Reilly \"q\" \\ back','line1\nline2\r	tab\0nul\Z end; -- not a comment /* nor this */','b,c','x,y','\0ÿ\'\"\\\n\r\Z','ab\0\0','{\"a\": [1, \"é\"]}','\0\0\0\0\0\0\0\0\0\0\0\0\0ð?\0\0\0\0\0\0\0@',-256),
(2,NULL,0,NULL,'\0',0,0.000000,0,0,'0000-00-00','0000-00-00 00:00:00.000000',NULL,'-838:59:59.000',NULL,'','','a','','',NULL,NULL,NULL,NULL);
/*!40000 ALTER TABLE `kinds` ENABLE KEYS */;
UNLOCK TABLES;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-25  9:29:21
