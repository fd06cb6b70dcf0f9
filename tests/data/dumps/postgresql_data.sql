--
-- PostgreSQL database dump
--

\restrict Sq4cltX99hF9ux5ZdFp5cdqjwiDzuxIsfe69ywyGPA2qoZsjrvQsoQhUzjw0FtC

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
-- Data for Name: kinds; Type: TABLE DATA; Schema: public; Owner: lake
--

INSERT INTO public.kinds (id, small, flag, amount, ratio, r4, day, moment, stamp, clock, ctz, "Name ""q""", note, m, raw, doc, docs, u, ip, arr, iv, b, money, pt) VALUES (1, -5, true, -12345678901234.567891, 1.7976931348623157e+308, 3.25, '2024-02-29', '2024-02-29 23:59:59.123456', '2024-03-30 23:30:00+00', '23:59:59.5', '10:00:00+02', 'O''Reilly "q" \ back', 'line1
line2	tab; -- no commentv \N \. $$ x $$', 'it''s ok', '\x00ff27225c0a', '{"a": [1, "é\n"]}', '{"a" : 1}', '11111111-2222-3333-4444-555555555555', '10.0.0.1', '{1,NULL,3}', '1 day 02:00:00', B'10101', '$12.50', '(1,2)') ON CONFLICT DO NOTHING;
INSERT INTO public.kinds (id, small, flag, amount, ratio, r4, day, moment, stamp, clock, ctz, "Name ""q""", note, m, raw, doc, docs, u, ip, arr, iv, b, money, pt) VALUES (2, NULL, false, 'NaN', 'Infinity', '-Infinity', '0044-03-15 BC', 'infinity', NULL, '24:00:00', NULL, '', '\N', 'sad', '\x', 'null', NULL, NULL, NULL, '{}', NULL, NULL, NULL, NULL) ON CONFLICT DO NOTHING;
INSERT INTO public.kinds (id, small, flag, amount, ratio, r4, day, moment, stamp, clock, ctz, "Name ""q""", note, m, raw, doc, docs, u, ip, arr, iv, b, money, pt) VALUES (3, NULL, NULL, NULL, 'NaN', 1e-10, NULL, NULL, '0099-01-01 00:00:00+00 BC', NULL, NULL, 'Zoë 😀 日本', '\.', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) ON CONFLICT DO NOTHING;


--
-- Data for Name: nocols; Type: TABLE DATA; Schema: public; Owner: lake
--



--
-- Data for Name: nothing; Type: TABLE DATA; Schema: public; Owner: lake
--



--
-- Data for Name: parts_2024; Type: TABLE DATA; Schema: public; Owner: lake
--

INSERT INTO public.parts_2024 (d, v) VALUES ('2024-05-01', 7) ON CONFLICT DO NOTHING;


--
-- Name: kinds_id_seq; Type: SEQUENCE SET; Schema: public; Owner: lake
--

SELECT pg_catalog.setval('public.kinds_id_seq', 3, true);


--
-- PostgreSQL database dump complete
--

\unrestrict Sq4cltX99hF9ux5ZdFp5cdqjwiDzuxIsfe69ywyGPA2qoZsjrvQsoQhUzjw0FtC

