import { sql } from 'millrace'
import { country } from '../country.ts'
import { birthDate, choice, educationLevel, phoneNumber, yearly } from '../mapping.ts'

const delivered = '2025-02-11'
const salariesPerYear = 1

const levels = [
  { code: '1', name: 'GCSE grades 3 to 1', eqf: 2 },
  { code: '2', name: 'GCSE grades 9 to 4', eqf: 3 },
  { code: '3', name: 'A level', eqf: 4 },
  { code: '4', name: 'Certificate of higher education', eqf: 5 },
  { code: '5', name: 'Diploma of higher education, foundation degree', eqf: 5 },
  { code: '6', name: 'Bachelor’s degree', eqf: 6 },
  { code: '7', name: 'Master’s degree', eqf: 7 },
  { code: '8', name: 'Doctorate', eqf: 8 },
]

export default country({
  code: 'UK',
  name: 'United Kingdom without Scotland',
  iso: 'GB',
  currency: 'GBP',
  calling: '+44',
  phone: /^\+44[1-9][0-9]{8,9}$/,
  // Adults have 11,541.90 to 52,370.00: years; as months, the least would come to 138,000 a year. The 1,331.20 of a sixteen-year-old is four hours a week
  // at the wage for under-eighteens (6.40).
  salariesPerYear,
  delivered,
  education: { framework: 'RQF', levels },
  users: {
    path: 'data/UK User Data.csv',
    // Saved as "CSV (MS-DOS)": the pound sign is byte 9C. No other byte is beyond ASCII.
    encoding: 'cp850',
    nulls: ['', '-', 'na', 'none', 'blank', '{NULL}'],
    exclude: ['Password'],
    map: {
      email: sql`lower("eMail")`,
      first_name: 'First Name',
      middle_names: 'Middle Initials',
      last_name: 'Surname',
      birth_date: birthDate('DoB', '%d/%m/%y', 'Age Last Birthday', delivered),
      age_at_delivery: 'Age Last Birthday',
      gender: choice('Gender', {
        male: ['Male'],
        female: ['Female'],
        non_binary: ['Non-binary'],
        undisclosed: ['Prefer not to answer'],
      }),
      favourite_colour: 'Favourite Colour',
      favourite_animal: 'Favourite Animal',
      favourite_food: 'Favourite Food',
      city: 'City',
      region: 'County',
      postcode: 'Postcode',
      time_zone: sql`'Europe/London'`,
      phone: phoneNumber('Phone', '+44', '0'),
      mobile: phoneNumber('Mobile', '+44', '0'),
      education: 'RQF',
      education_level: educationLevel('RQF', levels),
      salary: yearly('Salary', salariesPerYear, { sign: '£', group: ',', decimal: '.' }),
      website_visits: 'Website Visits last 30 days',
    },
  },
  logins: {
    path: 'data/UK-User-LoginTS.csv',
    timestamp: 'epoch-seconds',
    map: { login_id: 'RowID', email: sql`lower("Username")`, logged_in_at: 'LoginTS' },
  },
})
