--
-- PostgreSQL database dump
--

\restrict x4gYi3PMyEek45MfgkgIfWT6l0kE8Wl1PanYexmldFnDVy1TD7ryngv14fbyTpb

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: plant; Type: SCHEMA; Schema: -; Owner: lake
--

CREATE SCHEMA plant;


ALTER SCHEMA plant OWNER TO lake;

--
-- Name: mood; Type: TYPE; Schema: public; Owner: lake
--

CREATE TYPE public.mood AS ENUM (
    'sad',
    'it''s ok'
);


ALTER TYPE public.mood OWNER TO lake;

--
-- Name: wipe(); Type: FUNCTION; Schema: public; Owner: lake
--

CREATE FUNCTION public.wipe() RETURNS integer
    LANGUAGE plpgsql
    AS $_$ BEGIN DELETE FROM kinds; INSERT INTO nothing VALUES (1, 'from; $x$ function'); RETURN 1; END $_$;


ALTER FUNCTION public.wipe() OWNER TO lake;

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
-- Name: kinds; Type: TABLE; Schema: public; Owner: lake
--

CREATE TABLE public.kinds (
    id bigint NOT NULL,
    small smallint,
    flag boolean,
    amount numeric(30,6) DEFAULT 0.0,
    ratio double precision,
    r4 real,
    day date,
    moment timestamp(6) without time zone,
    stamp timestamp with time zone,
    clock time without time zone,
    ctz time with time zone,
    "Name ""q""" character varying(200) DEFAULT 'a,b)'::character varying,
    note text,
    m public.mood,
    raw bytea,
    doc jsonb,
    docs json,
    u uuid,
    ip inet,
    arr integer[],
    iv interval,
    b bit(5),
    money money,
    pt point,
    twice integer GENERATED ALWAYS AS ((small * 2)) STORED,
    CONSTRAINT positive CHECK ((small > '-1000'::integer))
);


ALTER TABLE public.kinds OWNER TO lake;

--
-- Name: TABLE kinds; Type: COMMENT; Schema: public; Owner: lake
--

COMMENT ON TABLE public.kinds IS 'it''s; a table';


--
-- Name: kinds_id_seq; Type: SEQUENCE; Schema: public; Owner: lake
--

CREATE SEQUENCE public.kinds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.kinds_id_seq OWNER TO lake;

--
-- Name: kinds_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: lake
--

ALTER SEQUENCE public.kinds_id_seq OWNED BY public.kinds.id;


--
-- Name: looked; Type: VIEW; Schema: public; Owner: lake
--

CREATE VIEW public.looked AS
 SELECT kinds.id,
    kinds.note
   FROM public.kinds;


ALTER TABLE public.looked OWNER TO lake;

--
-- Name: nocols; Type: TABLE; Schema: public; Owner: lake
--

CREATE TABLE public.nocols (
);


ALTER TABLE public.nocols OWNER TO lake;

--
-- Name: nothing; Type: TABLE; Schema: public; Owner: lake
--

CREATE TABLE public.nothing (
    a integer,
    b text
);


ALTER TABLE public.nothing OWNER TO lake;

--
-- Name: parts; Type: TABLE; Schema: public; Owner: lake
--

CREATE TABLE public.parts (
    d date,
    v integer
)
PARTITION BY RANGE (d);


ALTER TABLE public.parts OWNER TO lake;

--
-- Name: parts_2024; Type: TABLE; Schema: public; Owner: lake
--

CREATE TABLE public.parts_2024 (
    d date,
    v integer
);


ALTER TABLE public.parts_2024 OWNER TO lake;

--
-- Name: parts_2024; Type: TABLE ATTACH; Schema: public; Owner: lake
--

ALTER TABLE ONLY public.parts ATTACH PARTITION public.parts_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');


--
-- Name: kinds id; Type: DEFAULT; Schema: public; Owner: lake
--

ALTER TABLE ONLY public.kinds ALTER COLUMN id SET DEFAULT nextval('public.kinds_id_seq'::regclass);


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
-- Data for Name: kinds; Type: TABLE DATA; Schema: public; Owner: lake
--

COPY public.kinds (id, small, flag, amount, ratio, r4, day, moment, stamp, clock, ctz, "Name ""q""", note, m, raw, doc, docs, u, ip, arr, iv, b, money, pt) FROM stdin;
1	-5	t	-12345678901234.567891	1.7976931348623157e+308	3.25	2024-02-29	2024-02-29 23:59:59.123456	2024-03-30 23:30:00+00	23:59:59.5	10:00:00+02	O'Reilly "q" \\ back	line1\nline2\r\ttab; -- no comment\b\fv \\N \\. $$ x $$	it's ok	\\x00ff27225c0a	{"a": [1, "é\\n"]}	{"a" : 1}	11111111-2222-3333-4444-555555555555	10.0.0.1	{1,NULL,3}	1 day 02:00:00	10101	$12.50	(1,2)
2	\N	f	NaN	Infinity	-Infinity	0044-03-15 BC	infinity	\N	24:00:00	\N		\\N	sad	\\x	null	\N	\N	\N	{}	\N	\N	\N	\N
3	\N	\N	\N	NaN	1e-10	\N	\N	0099-01-01 00:00:00+00 BC	\N	\N	Zoë 😀 日本	\\.	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
\.


--
-- Data for Name: nocols; Type: TABLE DATA; Schema: public; Owner: lake
--

COPY public.nocols  FROM stdin;
\.


--
-- Data for Name: nothing; Type: TABLE DATA; Schema: public; Owner: lake
--

COPY public.nothing (a, b) FROM stdin;
\.


--
-- Data for Name: parts_2024; Type: TABLE DATA; Schema: public; Owner: lake
--

COPY public.parts_2024 (d, v) FROM stdin;
2024-05-01	7
\.


--
-- Name: kinds_id_seq; Type: SEQUENCE SET; Schema: public; Owner: lake
--

SELECT pg_catalog.setval('public.kinds_id_seq', 3, true);


--
-- Name: readings readings_pkey; Type: CONSTRAINT; Schema: plant; Owner: lake
--

ALTER TABLE ONLY plant.readings
    ADD CONSTRAINT readings_pkey PRIMARY KEY (meter, horodate);


--
-- Name: kinds kinds_pkey; Type: CONSTRAINT; Schema: public; Owner: lake
--

ALTER TABLE ONLY public.kinds
    ADD CONSTRAINT kinds_pkey PRIMARY KEY (id);


--
-- Name: note_i; Type: INDEX; Schema: public; Owner: lake
--

CREATE INDEX note_i ON public.kinds USING btree (note);


--
-- Name: TABLE kinds; Type: ACL; Schema: public; Owner: lake
--

GRANT SELECT ON TABLE public.kinds TO PUBLIC;


--
-- PostgreSQL database dump complete
--

\unrestrict x4gYi3PMyEek45MfgkgIfWT6l0kE8Wl1PanYexmldFnDVy1TD7ryngv14fbyTpb

