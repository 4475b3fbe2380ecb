import { t } from 'millrace'

/** What is known of a user, whatever the country. */
export const userColumns = {
  country: t.string().doc('Code of the country whose system holds the user; see `countries`.'),
  email: t.string().doc('E-mail address, lower case; the user name at login.'),
  first_name: t.string(),
  middle_names: t.string().nullable().doc('Further first names, or their initials.'),
  last_name: t.string(),
  birth_date: t.date().doc('With the century that the age at delivery tells.'),
  age_at_delivery: t.int().doc('Full years on the day of the delivery, as delivered.'),
  gender: t.string().nullable().doc('female, male, non_binary, other or undisclosed; null when not recorded.'),
  favourite_colour: t.string().nullable().doc("In the user's own words and language."),
  favourite_animal: t.string().nullable().doc("In the user's own words and language."),
  favourite_food: t.string().nullable().doc("In the user's own words and language."),
  city: t.string(),
  region: t.string().doc('County, district, département or state.'),
  postcode: t.string(),
  time_zone: t.string().doc('IANA time zone in which the user lives.'),
  phone: t.string().nullable().doc('Landline, E.164.'),
  mobile: t.string().nullable().doc('Mobile phone, E.164.'),
  education: t.string().nullable().doc("Code in the country's own framework; see `education_levels`."),
  education_level: t
    .int()
    .nullable()
    .doc('The same on one scale: level 1 to 8 of the European Qualifications Framework.'),
  salary: t.decimal(12, 2).nullable().doc('Gross pay for a year.'),
  salary_currency: t.string().doc('ISO 4217.'),
  website_visits: t
    .int()
    .nullable()
    .doc('Logins in the 30 days before the delivery, as the system of the country counts them.'),
}

export const loginColumns = {
  country: t.string().doc('Code of the country whose system took the login; see `countries`.'),
  login_id: t.long().doc("Number of the row in the country's audit; unique within the country."),
  email: t.string().doc('User name: the e-mail address, lower case.'),
  logged_in_at: t.timestamp().doc('UTC.'),
}
