/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: campus
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Current Database: `campus`
--

CREATE DATABASE /*!32312 IF NOT EXISTS*/ `campus` /*!40100 DEFAULT CHARACTER SET latin1 COLLATE latin1_swedish_ci */;

USE `campus`;

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

LOCK TABLES `kinds` WRITE;
/*!40000 ALTER TABLE `kinds` DISABLE KEYS */;
INSERT INTO `kinds` (`id`, `small`, `flag`, `bits`, `one`, `big`, `amount`, `ratio`, `real4`, `day`, `moment`, `stamp`, `clock`, `y`, `name`, `note`, `kind`, `many`, `raw`, `fixed`, `doc`, `where`, `twice`) VALUES (1,-128,1,0x15,0x01,18446744073709551615,-12345678901234.567891,1.7976931348623157e308,3.25,'2024-02-29','2024-02-29 23:59:59.123456','2024-03-31 01:30:00','23:59:59.500',2024,'O\'Reilly \"q\" \\ back','line1\nline2\r	tab\0nul\Z end; -- not a comment /* nor this */','b,c','x,y',0x00FF27225C0A0D1A,0x61620000,'{\"a\": [1, \"é\"]}',0x000000000101000000000000000000F03F0000000000000040,-256);
INSERT INTO `kinds` (`id`, `small`, `flag`, `bits`, `one`, `big`, `amount`, `ratio`, `real4`, `day`, `moment`, `stamp`, `clock`, `y`, `name`, `note`, `kind`, `many`, `raw`, `fixed`, `doc`, `where`, `twice`) VALUES (2,NULL,0,NULL,0x00,0,0.000000,0,0,'0000-00-00','0000-00-00 00:00:00.000000',NULL,'-838:59:59.000',NULL,'','','a','','',NULL,NULL,NULL,NULL);
INSERT INTO `kinds` (`id`, `small`, `flag`, `bits`, `one`, `big`, `amount`, `ratio`, `real4`, `day`, `moment`, `stamp`, `clock`, `y`, `name`, `note`, `kind`, `many`, `raw`, `fixed`, `doc`, `where`, `twice`) VALUES (3,5,2,0x00,NULL,1,1.500000,-0.00000000025,-1,'1999-12-31','1970-01-01 00:00:00.000000',NULL,'100:00:00.000',1970,'Zoë 😀 日本','DELIMITER ;;\n-- x\n/*!40101 y */','d\'e','y',0xDEADBEEF,0x00000000,'null',NULL,10);
/*!40000 ALTER TABLE `kinds` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Temporary table structure for view `looked`
--

DROP TABLE IF EXISTS `looked`;
/*!50001 DROP VIEW IF EXISTS `looked`*/;
SET @saved_cs_client     = @@character_set_client;
SET character_set_client = utf8mb4;
/*!50001 CREATE VIEW `looked` AS SELECT
 NULL AS `id`,
 NULL AS `name` */;
SET character_set_client = @saved_cs_client;

--
-- Table structure for table `nothing`
--

DROP TABLE IF EXISTS `nothing`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `nothing` (
  `a` int(11) DEFAULT NULL,
  `b` text DEFAULT NULL
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `nothing`
--

LOCK TABLES `nothing` WRITE;
/*!40000 ALTER TABLE `nothing` DISABLE KEYS */;
/*!40000 ALTER TABLE `nothing` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `readings`
--

DROP TABLE IF EXISTS `readings`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `readings` (
  `meter` varchar(14) NOT NULL,
  `horodate` datetime NOT NULL,
  `valeur` decimal(12,3) DEFAULT NULL,
  PRIMARY KEY (`meter`,`horodate`)
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci COMMENT='x';
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `readings`
--

LOCK TABLES `readings` WRITE;
/*!40000 ALTER TABLE `readings` DISABLE KEYS */;
INSERT INTO `readings` (`meter`, `horodate`, `valeur`) VALUES ('30000000000000','2024-01-01 03:00:00',0.429);
INSERT INTO `readings` (`meter`, `horodate`, `valeur`) VALUES ('30000000000000','2024-01-01 06:00:00',0.857);
INSERT INTO `readings` (`meter`, `horodate`, `valeur`) VALUES ('30000000000001','2024-01-01 01:00:00',0.143);
INSERT INTO `readings` (`meter`, `horodate`, `valeur`) VALUES ('30000000000001','2024-01-01 04:00:00',0.571);
INSERT INTO `readings` (`meter`, `horodate`, `valeur`) VALUES ('30000000000002','2024-01-01 02:00:00',0.286);
INSERT INTO `readings` (`meter`, `horodate`, `valeur`) VALUES ('30000000000002','2024-01-01 05:00:00',0.714);
/*!40000 ALTER TABLE `readings` ENABLE KEYS */;
UNLOCK TABLES;
/*!50003 SET @saved_cs_client      = @@character_set_client */ ;
/*!50003 SET @saved_cs_results     = @@character_set_results */ ;
/*!50003 SET @saved_col_connection = @@collation_connection */ ;
/*!50003 SET character_set_client  = utf8mb4 */ ;
/*!50003 SET character_set_results = utf8mb4 */ ;
/*!50003 SET collation_connection  = utf8mb4_general_ci */ ;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = '' */ ;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER guard BEFORE INSERT ON readings FOR EACH ROW BEGIN IF NEW.valeur < 0 THEN SET NEW.valeur = 0; END IF; INSERT INTO nothing VALUES (1,'from; trigger'); END 
*/;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
/*!50003 SET character_set_client  = @saved_cs_client */ ;
/*!50003 SET character_set_results = @saved_cs_results */ ;
/*!50003 SET collation_connection  = @saved_col_connection */ ;

--
-- Current Database: `campus`
--

USE `campus`;

--
-- Final view structure for view `looked`
--

/*!50001 DROP VIEW IF EXISTS `looked`*/;
/*!50001 SET @saved_cs_client          = @@character_set_client */;
/*!50001 SET @saved_cs_results         = @@character_set_results */;
/*!50001 SET @saved_col_connection     = @@collation_connection */;
/*!50001 SET character_set_client      = utf8mb4 */;
/*!50001 SET character_set_results     = utf8mb4 */;
/*!50001 SET collation_connection      = utf8mb4_general_ci */;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */
/*!50001 VIEW `looked` AS select `kinds`.`id` AS `id`,`kinds`.`name` AS `name` from `kinds` */;
/*!50001 SET character_set_client      = @saved_cs_client */;
/*!50001 SET character_set_results     = @saved_cs_results */;
/*!50001 SET collation_connection      = @saved_col_connection */;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-25  9:29:21
