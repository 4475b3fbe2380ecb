import { sql } from 'millrace'
import { country } from '../country.ts'
import { birthDate, choice, educationLevel, phoneNumber, yearly } from '../mapping.ts'

const delivered = '2025-02-11'
const salariesPerYear = 12

const levels = [
  { code: 'Collège', name: 'Lower secondary school', eqf: 2 },
  { code: 'Lycée', name: 'Upper secondary school, before the baccalauréat', eqf: 3 },
  { code: 'CFA', name: 'Apprenticeship (CAP)', eqf: 3 },
  { code: 'Baccalauréat', name: 'Baccalauréat', eqf: 4 },
  { code: 'BTS', name: 'BTS, DUT (bac+2)', eqf: 5 },
  { code: 'Licentiate', name: 'Licence (bac+3)', eqf: 6 },
  { code: 'Master', name: 'Master (bac+5)', eqf: 7 },
  { code: 'Doctorat', name: 'Doctorat (bac+8)', eqf: 8 },
]

export default country({
  code: 'FR',
  name: 'France',
  iso: 'FR',
  currency: 'EUR',
  calling: '+33',
  phone: /^\+33[1-9][0-9]{8}$/,
  // Adults have 1,058.00 to 4,800.00, with doctorates at the upper end: months, as pay is quoted in France. As years they would all be far below the
  // minimum wage of some 21,600 euros.
  salariesPerYear,
  delivered,
  education: { framework: 'BAC+', levels },
  users: {
    path: 'data/FR User Data.csv',
    nulls: ['', '-', 'na', 'vide'],
    exclude: ['Mot de passe'],
    map: {
      email: sql`lower("Adresse électronique")`,
      // The field holds all first names; José-Maria is one, Adèle Françoise are two.
      first_name: sql`split_part("Prénom", ' ', 1)`,
      middle_names: sql`nullif(regexp_replace("Prénom", '^[^ ]+ *', ''), '')`,
      last_name: 'Nom de famille',
      birth_date: birthDate('DdN', '%y-%m-%d', 'Âge dernier anniversaire', delivered),
      age_at_delivery: 'Âge dernier anniversaire',
      gender: choice('Genre', { male: ['M'], female: ['F'], non_binary: ['NB'] }),
      favourite_colour: 'Couleur préférée',
      favourite_animal: 'Animal préféré',
      favourite_food: 'Plat préféré',
      city: 'Ville',
      region: 'Département',
      postcode: 'Code postal',
      time_zone: sql`'Europe/Paris'`,
      phone: phoneNumber('Téléphone', '+33', '0'),
      mobile: phoneNumber('Portable', '+33', '0'),
      education: 'BAC+',
      education_level: educationLevel('BAC+', levels),
      salary: yearly('Salaire', salariesPerYear, { group: '.', decimal: ',' }),
      website_visits: 'Visites du site Web au cours des 30 derniers jours',
    },
  },
  logins: {
    path: 'data/FR-User-LoginTS.csv',
    timestamp: 'epoch-seconds',
    map: { login_id: 'RowID', email: sql`lower("Nomdutilisateur")`, logged_in_at: 'LoginTS' },
  },
})
