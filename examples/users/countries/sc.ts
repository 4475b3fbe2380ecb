import { sql } from 'millrace'
import { country } from '../country.ts'
import { birthDate, choice, educationLevel, phoneNumber, yearly } from '../mapping.ts'

const delivered = '2025-02-11'
const salariesPerYear = 1

// "Level to level" referencing of the SCQF to the EQF; SCQF 1 and 2 lie below its scale.
const levels = [
  { code: '3', name: 'National 3', eqf: 1 },
  { code: '4', name: 'National 4', eqf: 2 },
  { code: '5', name: 'National 5', eqf: 3 },
  { code: '6', name: 'Higher', eqf: 4 },
  { code: '7', name: 'Advanced Higher, Higher National Certificate', eqf: 5 },
  { code: '8', name: 'Higher National Diploma', eqf: 5 },
  { code: '9', name: 'Ordinary degree', eqf: 6 },
  { code: '10', name: 'Honours degree', eqf: 6 },
  { code: '11', name: 'Master’s degree', eqf: 7 },
  { code: '12', name: 'Doctorate', eqf: 8 },
]

export default country({
  code: 'SC',
  name: 'Scotland',
  iso: 'GB-SCT',
  currency: 'GBP',
  calling: '+44',
  phone: /^\+44[1-9][0-9]{8,9}$/,
  // 7,064.96 (of an eighteen-year-old) to 41,896.00: years, as in the rest of the United Kingdom.
  salariesPerYear,
  delivered,
  education: { framework: 'SCQF', levels },
  users: {
    path: 'data/SC User Data.csv',
    nulls: [''],
    exclude: ['Password'],
    map: {
      email: sql`lower("eMail")`,
      first_name: 'First Name',
      middle_names: 'Middle Name',
      last_name: 'Surname',
      birth_date: birthDate('DoB', '%d/%m/%y', 'Age Last Birthday', delivered),
      age_at_delivery: 'Age Last Birthday',
      // LBTQI is no gender, but an answer other than the three.
      gender: choice('Gender', { male: ['M'], female: ['F'], non_binary: ['NB'], other: ['LBTQI'] }),
      favourite_colour: 'Favourite Colour',
      favourite_animal: 'Favourite Animal',
      favourite_food: 'Favourite Food',
      city: 'Town',
      region: 'District',
      postcode: 'Postcode',
      time_zone: sql`'Europe/London'`,
      phone: phoneNumber('Phone', '+44', '0'),
      mobile: phoneNumber('Mobile', '+44', '0'),
      education: 'SCQF',
      education_level: educationLevel('SCQF', levels),
      salary: yearly('Salary', salariesPerYear, { sign: '£', group: ',', decimal: '.' }),
      website_visits: 'Website Visits last 30 days',
    },
  },
  logins: {
    path: 'data/SC-User-LoginTS.csv',
    timestamp: 'epoch-seconds',
    map: { login_id: 'RowID', email: sql`lower("Username")`, logged_in_at: 'LoginTS' },
  },
})
