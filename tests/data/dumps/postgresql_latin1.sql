--
-- PostgreSQL database dump
--

\restrict rTelTV9MWy7OIdW9fo90rhpsIMWC3YQ4d2x9jS9y2j18YP7sZM9wrA2XNFej3pf

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'LATIN1';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

DROP DATABASE IF EXISTS campus;
--
-- Name: campus; Type: DATABASE; Schema: -; Owner: lake
--

CREATE DATABASE campus WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';


ALTER DATABASE campus OWNER TO lake;

\unrestrict rTelTV9MWy7OIdW9fo90rhpsIMWC3YQ4d2x9jS9y2j18YP7sZM9wrA2XNFej3pf
\connect campus
\restrict rTelTV9MWy7OIdW9fo90rhpsIMWC3YQ4d2x9jS9y2j18YP7sZM9wrA2XNFej3pf

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'LATIN1';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: readings; Type: TABLE; Schema: plant; Owner: lake
--

CREATE TABLE plant.readings (
    meter character varying(14) NOT NULL,
    horodate timestamp with time zone NOT NULL,
    valeur numeric(12,3)
);


ALTER TABLE plant.readings OWNER TO lake;

--
-- Name: nothing; Type: TABLE; Schema: public; Owner: lake
--

CREATE TABLE public.nothing (
    a integer,
    b text
);


ALTER TABLE public.nothing OWNER TO lake;

--
-- Data for Name: readings; Type: TABLE DATA; Schema: plant; Owner: lake
--

COPY plant.readings (meter, horodate, valeur) FROM stdin;
30000000000001	2024-01-01 01:00:00+00	0.143
30000000000002	2024-01-01 02:00:00+00	0.286
30000000000000	2024-01-01 03:00:00+00	0.429
30000000000001	2024-01-01 04:00:00+00	0.571
30000000000002	2024-01-01 05:00:00+00	0.714
30000000000000	2024-01-01 06:00:00+00	0.857
\.


--
-- Data for Name: nothing; Type: TABLE DATA; Schema: public; Owner: lake
--

COPY public.nothing (a, b) FROM stdin;
\.


--
-- Name: readings readings_pkey; Type: CONSTRAINT; Schema: plant; Owner: lake
--

ALTER TABLE ONLY plant.readings
    ADD CONSTRAINT readings_pkey PRIMARY KEY (meter, horodate);


--
-- PostgreSQL database dump complete
--

\unrestrict rTelTV9MWy7OIdW9fo90rhpsIMWC3YQ4d2x9jS9y2j18YP7sZM9wrA2XNFej3pf

